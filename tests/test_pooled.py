"""Fields of several values: the mean of their embeddings, against loops, and nothing of it where every field
has one value."""
import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from reference import perturbed
from test_models import (
    CARDINALITIES,
    CASES,
    DIM,
    HIDDEN,
    evaluation_equals_loops,
    make,
    schema_of,
    training_equals_loops,
)
from torch import Tensor

from collapse_nb.abundance import row_counts
from collapse_nb.data.dataset import Encoded, Split, fresh_folder, in_memory, open_encoded, write_encoded
from collapse_nb.data.made_up.synthetic import make_truth
from collapse_nb.fields import FieldSchema
from collapse_nb.frozen import freeze
from collapse_nb.multi_embedding import multi_embedding
from collapse_nb.nn.zoo import BASE_DIM, Model, ModelSpec, build, one_replica
from collapse_nb.overfitting import batch_embeddings
from collapse_nb.records import InputError
from collapse_nb.train.fit import fit
from collapse_nb.train.memory import needed_bytes
from collapse_nb.train.metrics import auc
from collapse_nb.train.recipe import BY_ROWS, Recipe, optimizers
from collapse_nb.train.rows import Rows, check_ids
from collapse_nb.train.runs import Group, RunStore
from collapse_nb.train.step import replica_losses

LAST = (1, 1, 4, 2)   # the last field's padding is beyond the table; the first two have one value
MIXED = (3, 2, 1, 1)  # the second field has one id, so its padding is 1
EVERY = [(m, "SE" if m in ("FFM", "FM") else "ME", 2, "paper") for m in BASE_DIM]
named = dict(ids=lambda c: "-".join(map(str, c)))


def several(widths: tuple[int, ...], n: int = 9, cardinalities: tuple[int, ...] = CARDINALITIES,
            seed: int = 5) -> tuple[Tensor, Tensor]:
    """Rows of one value to as many as there are columns, of every number, repeated values among them; and
    labels."""
    draw = torch.Generator().manual_seed(seed)
    blocks = []
    for d, width in zip(cardinalities, widths, strict=True):
        block, number = torch.randint(d, (n, width), generator=draw), torch.arange(n).roll(3 * d) % width + 1
        blocks.append(torch.where(torch.arange(width) < number[:, None], block, d))
    return torch.cat(blocks, 1), torch.randint(2, (n,), generator=draw).double()

def hit(x: Tensor, schema: FieldSchema) -> set[int]: # rows of the fused table that some value is
    D, o = schema.cardinalities, schema.offsets
    return {v + o[i] for row in x.tolist() for v, i in zip(row, schema.column_fields, strict=True)
            if v != D[i]}


@pytest.mark.parametrize("widths", [LAST, MIXED], ids=str)
@pytest.mark.parametrize("case", CASES, **named)
def test_models_equal_loops_over_values(case, widths):
    x, y = several(widths)
    assert all((x[:, c] == CARDINALITIES[i]).any()
               for c, i in enumerate(schema_of(CARDINALITIES, widths).column_fields)
               if c not in schema_of(CARDINALITIES, widths).columns)
    evaluation_equals_loops(make(*case, widths=widths).eval(), x)
    training_equals_loops(make(*case, widths=widths).train(), x, y)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("case", EVERY, **named)
def test_one_value_everywhere_is_a_field_of_one_value(case, sparse):
    "Logits to the last bit; gradients to 1e-12, because they are summed up by another kernel."
    x, y = several((1,) * 4, 40)
    padded = torch.cat([x[:, :2], x[:, 2:3], torch.full((40, 3), 7), x[:, 3:], torch.full((40, 1), 3)], 1)
    results = []
    for ids, widths in (x, ()), (padded, LAST):
        model = make(*case, widths=widths)
        for table in (model.embedding, model.linear):
            if table is not None: table.sparse = sparse
        with torch.no_grad(): logits = model.eval()(ids)
        replica_losses(model.train(), ids, y).sum().backward()
        results.append((logits, {n: p.grad.to_dense() for n, p in model.named_parameters()
                                 if p.grad is not None}))
    (plain, gradients), (pooled, others) = results
    assert plain.equal(pooled) and gradients.keys() == others.keys()
    for name, grad in gradients.items(): torch.testing.assert_close(others[name], grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", EVERY, **named)
def test_what_no_value_names_is_neither_read_nor_hit(case):
    "With NaN in all other rows every logit is a number, and gradients are of the rows that some value names."
    x, y = several(LAST, 3)
    x[:, 2:][x[:, 2:] == 0] = 1 # what padding could mistakenly name: the first row of its field
    model = make(*case, widths=LAST)
    rows = hit(x, model.schema)
    others = [r for r in range(model.schema.num_rows) if r not in rows]
    assert {5 + 1, 5 + 1 + 7} <= {*others} # the first rows of the fields with padding
    tables = [t for t in (model.embedding, model.linear) if t is not None]
    with torch.no_grad():
        for table in tables: table.weight[others] = torch.nan
    for table in tables: table.sparse = True
    losses = replica_losses(model.train(), x, y)
    losses.sum().backward()
    assert losses.isfinite().all()
    for table in tables: assert set(table.weight.grad._indices()[0].tolist()) == rows


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW", *BY_ROWS])
def test_optimisers_take_the_gradients_of_values_alone(optimizer):
    """Several steps equal those with dense gradients; those by rows leave alone what no value names.

    To 1e-9: sums in another order differ by rounding, and Adam divides by the size of a gradient."""
    recipe, pair = Recipe(optimizer=optimizer), [perturbed(make("xDeepFM", "ME", 2, "paper",
                                                                widths=LAST)).train() for _ in range(2)]
    used, start = [optimizers(model, recipe) for model in pair], pair[0].embedding.weight.detach().clone()
    named_rows = set()
    for seed in range(5):
        x, y = several(LAST, 6, seed=seed)
        named_rows |= hit(x, pair[0].schema)
        for model, own, dense in zip(pair, used, (False, True), strict=True):
            for o in own: o.zero_grad(set_to_none=True)
            replica_losses(model, x, y).sum().backward()
            for table in (model.embedding, model.linear):
                exact, touched = table.weight.grad.to_dense(), sorted(hit(x, model.schema))
                assert not exact[[r for r in range(len(exact)) if r not in touched]].any()
                if dense:
                    table.weight.grad = torch.sparse_coo_tensor([touched], exact[touched], exact.shape,
                                                                check_invariants=True)
            for o in own: o.step()
    for a, b in zip(pair[0].parameters(), pair[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
    still = (pair[0].embedding.weight == start).all(1)
    assert {r for r in range(len(still)) if not still[r]} == (named_rows if optimizer in BY_ROWS
                                                              else set(range(len(still))))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_one_replica_predicts_what_all_predict(dtype):
    x = several(MIXED, 30)[0].to(dtype)
    for case in EVERY:
        model = make(*case, widths=MIXED).eval()
        with torch.no_grad(): alone = torch.cat([one_replica(model, r)(x) for r in range(model.replicas)])
        torch.testing.assert_close(alone, model(x).detach(), rtol=0, atol=1e-12)


def tagged(n: int) -> Encoded:
    "Rows whose label depends on whether one of the first three of ten tags is among theirs."
    schema, (x, _) = schema_of((4, 10), (1, 3)), several((1, 3), n, (4, 10))
    y = ((x[:, 1:] < 3).any(1).double() * .8
         + .1 > torch.rand(n, generator=torch.Generator().manual_seed(1))).to(torch.uint8)
    sizes = (n * 8 // 10, n // 10, n // 10)
    return in_memory("tagged", schema, sizes, x.int().numpy(), y.numpy())


@pytest.mark.parametrize("optimizer", ["Adam", *BY_ROWS])
def test_a_training_learns_from_tags_and_is_filed(tmp_path, optimizer):
    data, spec = tagged(6000), ModelSpec("DCNv2", "ME", 2, base_dim=4, hidden=16)
    recipe = Recipe(batch_size=100, max_epochs=3, learning_rate=.01, optimizer=optimizer)
    result = fit(build(spec, data.schema, 2), data, recipe, "cpu", show=False)
    rule = auc((data.test.x[:, 1:] < 3).any(1).astype(float), data.test.y)
    # nearer to the rule than to chance
    assert result.frame.test_auc.min() > (.5 + rule) / 2 and result.abundance.shape[-1] == 2
    store = RunStore(tmp_path, weights=True)
    group = Group(dataset="tagged", fingerprint=data.fingerprint, spec=spec, recipe=recipe, seeds=(0, 1))
    store.save(group, result, {})
    back = store.model(group)
    with fresh_folder(tmp_path / "encoded") as folder:
        write_encoded(folder, "tagged", data.schema, (4800, 600, 600),
                      [(s.x, s.y) for s in (data.train, data.valid, data.test)], {})
    assert ((again := open_encoded(tmp_path / "encoded")).schema == data.schema
            and again.fingerprint == data.fingerprint)
    assert back.schema == data.schema
    with torch.no_grad(): logits = back(torch.from_numpy(data.test.x))
    torch.testing.assert_close(logits, result.test_logits, rtol=0, atol=1e-5) # float32, in other batches
    assert json.loads((tmp_path / group.id / "schema.json").read_text())["widths"] == [1, 3]


def test_schemas_of_one_value_are_stored_and_open_as_before():
    schema = FieldSchema("ab", (3, 4))
    assert json.dumps(schema.to_dict()) == '{"names": ["a", "b"], "cardinalities": [3, 4]}'
    read = FieldSchema(**json.loads('{"names": ["a", "b"], "cardinalities": [3, 4]}'))
    assert read == schema == FieldSchema("ab", (3, 4), (1, 1))
    assert len({schema, FieldSchema("ab", (3, 4), (1, 2)), FieldSchema("ab", (3, 4), (2, 1))}) == 3
    assert dataclasses.replace(schema, widths=(1, 2)).to_dict()["widths"] == (1, 2)


def test_a_pooled_field_has_no_parameters_of_its_own():
    for case in EVERY:
        spec = ModelSpec(*case)
        assert needed_bytes(spec, schema_of(CARDINALITIES, LAST),
                            2) == needed_bytes(spec, schema_of(CARDINALITIES), 2)
        plain, pooled = (build(spec, schema_of(CARDINALITIES, widths)).state_dict() for widths in ((), LAST))
        assert plain.keys() == pooled.keys() and all(plain[n].equal(pooled[n]) for n in plain)


def test_ids_may_be_padding_behind_values_alone():
    schema, (x, _) = schema_of(CARDINALITIES, LAST), several(LAST, 200_000)
    check_ids(x, schema)
    for (row, column), value, part in [
        ((70_000, 2), 7, "from 0 to 7"), ((3, 0), 5, "f0 has ids from 0 to 5"),
        ((3, 7), 4, "f3 has ids from 0 to 4"),
        ((150_000, 3), 7, "row 150000 has a value of field f2 behind padding")]:
        wrong = x.clone()
        if column == 3: wrong[row, 4] = 0
        wrong[row, column] = value
        with pytest.raises(InputError, match=part): check_ids(wrong, schema)
    with pytest.raises(InputError, match="of 8 columns"): check_ids(x[:, :4], schema)
    split = Split(x[:50].int().numpy(), np.arange(50) % 2)
    assert Rows(SimpleNamespace(train=split), "train", schema,
                torch.device("cpu"))[slice(2, 5)][0].shape == (3, 8)


def test_counts_are_of_values():
    schema, (x, _) = schema_of(CARDINALITIES, MIXED), several(MIXED, 50)
    counts = row_counts(x, schema)
    for i, (d, start, width) in enumerate(zip(schema.cardinalities, schema.columns, schema.widths,
                                              strict=True)):
        slow = [sum(v == value for row in x[:, start:start + width].tolist() for v in row)
                for value in range(d)]
        assert counts[i].tolist() == slow
    assert counts[0].sum() > 50 == counts[3].sum()
    # padding before any value, beyond padding, and where there is none
    for column, value in (0, 5), (1, 6), (5, 7), (6, 3):
        wrong = x.clone()
        wrong[3, column] = value
        with pytest.raises(InputError, match="beyond its cardinality"): row_counts(wrong, schema)


def embeddings(model: Model, x: Tensor) -> Tensor:
    return batch_embeddings(model, x).flatten(0, 1).transpose(1, 2) # (G, B, N, K)

def test_diagnostics_see_means_or_refuse():
    x, _ = several(MIXED, 20)
    model = make("DCNv2", "ME", 2, "paper", widths=MIXED)
    assert embeddings(model, x).equal(model.embedding(x))
    with pytest.raises(InputError, match="ids must lie in"): batch_embeddings(model, x + 1)
    tables = [t[0, 0] for t in model.field_tables()]
    with pytest.raises(InputError, match="one value per row and field"): multi_embedding([tables], [None], x)
    with pytest.raises(InputError, match="one value per field"): make_truth(0, model.schema)


@pytest.mark.parametrize("field", range(4))
def test_a_frozen_field_may_have_several_values(field):
    "Beside it the others are pooled as ever, and its own mean is of the fixed rows; no gradient goes there."
    x, y = several(MIXED, 20)
    cards = (5, 4, 7, 3)
    model = make("DCNv2", "ME", 2, "paper", cards, MIXED)
    x[:, 3:5] = several((2,), 20, (4,))[0]
    before = model.embedding(x).detach()
    freeze(model, model.schema.names[field], 2, 1.)
    model.double()
    after, own = model.embedding(x), model.embedding.tables()[field]
    others = [i for i in range(4) if i != field]
    assert (after[:, :, others].equal(before[:, :, others])
            and not after[:, :, field].equal(before[:, :, field]))
    start = model.schema.columns[field]
    for b, row in enumerate(x[:, start:start + MIXED[field]].tolist()):
        values = [v for v in row if v != cards[field]]
        torch.testing.assert_close(after[:, b, field], sum(own[:, v] for v in values) / len(values), rtol=0,
                                   atol=1e-12)
    replica_losses(model, x, y).sum().backward()
    assert model.embedding.weight.grad.shape[0] == sum(cards) - cards[field]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("case", EVERY, **named)
def test_a_gpu_computes_the_same(case):
    x, y = several(LAST, 64)
    model, there = (make(*case, widths=LAST).train() for _ in range(2))
    there.cuda()
    replica_losses(model, x, y).sum().backward()
    replica_losses(there, x.cuda(), y.cuda()).sum().backward()
    for a, b in zip(model.parameters(), there.parameters(), strict=True):
        if a.grad is not None: torch.testing.assert_close(b.grad.cpu(), a.grad, rtol=0, atol=1e-10)
    assert there.spec.base_dim == DIM and there.spec.hidden == HIDDEN
