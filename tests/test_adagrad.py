"""Tables by Adagrad and row-wise Adagrad: the loops' numbers, FBGEMM's, and a training like any other.

FBGEMM is not among the requirements: `pip install fbgemm-gpu-cpu==1.8.0` beside torch 2.13 has its test run.
"""

import numpy as np
import pytest
import torch
from test_pooled import several
from test_training import SCHEMA, SEEDS, dataset, make, squares

from collapse_nb.fields import FieldSchema
from collapse_nb.frozen import freeze
from collapse_nb.nn.embedding import EmbeddingSets, FieldLinear
from collapse_nb.nn.zoo import Model, ModelSpec, build
from collapse_nb.records import InputError
from collapse_nb.train.adagrad import EPSILON, Adagrad
from collapse_nb.train.fit import fit
from collapse_nb.train.recipe import ADAGRAD, Recipe, reduced
from collapse_nb.train.runs import Group, RunStore
from collapse_nb.train.step import Step

LR = 0.05

def recipe(optimizer: str, **more) -> Recipe:
    return Recipe(**dict(optimizer=optimizer, table_learning_rate=LR, batch_size=32, max_epochs=1) | more)


# the numbers

def looped(tables: np.ndarray, sums: np.ndarray, rows: list[list[int]], grads: np.ndarray,
           row_wise: bool) -> None:
    """A step, number by number: tables (G, D, K), gradients (G, B, N, K) of the rows that are named.

    `sums` is (G, D) row-wise, or (G, D, K)."""
    G, D, K = tables.shape
    for g in range(G):
        for d in range(D):
            of_row = [[grads[g, b, n, k] for b, named in enumerate(rows) for n, row in enumerate(named)
                       if row == d] for k in range(K)]
            total = [sum(t) for t in of_row]
            if row_wise: sums[g, d] += sum(t * t for t in total) / K
            for k in range(K):
                if not row_wise: sums[g, d, k] += total[k] * total[k]
                root = (sums[g, d] if row_wise else sums[g, d, k]) ** .5
                tables[g, d, k] -= LR * total[k] / (root + EPSILON)


@pytest.mark.parametrize("optimizer", ADAGRAD)
def test_twenty_steps_are_those_of_the_loops(optimizer):
    "Two sets of two replicas, each a table of its own; the ids of a batch repeat, and one never occurs."
    tables = EmbeddingSets(SCHEMA, copies=4, dim=3).double()
    torch.nn.init.normal_(tables.weight, generator=torch.Generator().manual_seed(0))
    tables.sparse, row_wise = True, optimizer == "RowWiseAdagrad"
    stepper = Adagrad([(tables.weight, 3)], LR, row_wise)
    slow = tables.weight.detach().unflatten(1, (4, 3)).transpose(0, 1).numpy().copy()
    start, sums = slow.copy(), np.zeros(slow.shape[:2] if row_wise else slow.shape)
    for seed in range(20):
        draw = torch.Generator().manual_seed(seed)
        x = torch.stack([torch.randint(d - (d == 9), (8,), generator=draw) for d in SCHEMA.cardinalities], 1)
        grads = torch.randn(4, 8, 4, 3, generator=draw, dtype=torch.float64)
        stepper.zero_grad()
        (tables(x) * grads).sum().backward()
        stepper.step()
        rows = tables.lookup.rows(x)
        assert len(rows.unique()) < rows.numel()
        looped(slow, sums, rows.tolist(), grads.numpy(), row_wise)
    fast = tables.weight.detach().unflatten(1, (4, 3)).transpose(0, 1).numpy()
    np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-12)
    never = SCHEMA.offsets[1] + 8
    assert (fast[:, never] == start[:, never]).all() and (fast != start).all((0, 2)).sum() == 19


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("optimizer", ADAGRAD)
def test_fbgemm_takes_the_same_steps(optimizer):
    "Twenty steps in single precision on tables of a few and of thousands of rows, to 1e-6."
    pytest.importorskip("fbgemm_gpu")
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
        ComputeDevice,
        SplitTableBatchedEmbeddingBagsCodegen,
    )
    schema, copies, dim, B = FieldSchema("abc", [4, 60, 3000]), 2, 8, 256
    ours = EmbeddingSets(schema, copies, dim)
    ours.reset([torch.Generator().manual_seed(0)])
    ours.sparse = True
    stepper = Adagrad([(ours.weight, dim)], LR, optimizer == "RowWiseAdagrad")
    kind = {"Adagrad": EmbOptimType.EXACT_ADAGRAD, "RowWiseAdagrad": EmbOptimType.EXACT_ROWWISE_ADAGRAD}
    theirs = SplitTableBatchedEmbeddingBagsCodegen(
        [(d, dim, EmbeddingLocation.HOST, ComputeDevice.CPU) for d in schema.cardinalities
         for _ in range(copies)], optimizer=kind[optimizer], learning_rate=LR, eps=EPSILON)
    both = lambda: zip(theirs.split_embedding_weights(),
                       [t[g] for t in ours.tables() for g in range(copies)], strict=True)
    with torch.no_grad():
        for a, b in both(): a.copy_(b)
    for seed in range(20):
        draw = torch.Generator().manual_seed(seed)
        share = torch.rand(B, 3, generator=draw) ** 3
        x = (share * torch.tensor(schema.cardinalities)).long()
        grads = torch.randn(copies, B, 3, dim, generator=draw) / B
        stepper.zero_grad()
        (ours(x) * grads).sum().backward()
        stepper.step()
        ids = x.T.repeat_interleave(copies, 0).flatten() # by table, then by row of the batch
        out = theirs(ids, torch.arange(len(ids) + 1)).view(B, 3, copies, dim)
        (out.permute(2, 0, 1, 3) * grads).sum().backward()
    apart = max((a - b).abs().max().item() for a, b in both())
    print(f"{optimizer}: {apart:.2e}")
    assert apart < 1e-6


@pytest.mark.parametrize("optimizer", ADAGRAD)
def test_tags_move_by_their_share(optimizer):
    "A field of several values: each gets its share of the mean's gradient; padding moves nothing."
    schema = FieldSchema(["site", "tags"], [5, 7], [1, 3])
    x, _ = several((1, 3), 40, (5, 7), seed=3)
    pair = [EmbeddingSets(schema, copies=2, dim=3).double() for _ in range(2)]
    for tables, is_sparse in zip(pair, (True, False), strict=True):
        torch.nn.init.ones_(tables.weight)
        tables.sparse = is_sparse
        stepper = Adagrad([(tables.weight, 3)], LR, optimizer == "RowWiseAdagrad")
        for _ in range(3):
            stepper.zero_grad()
            tables(x).square().sum().backward()
            stepper.step()
    torch.testing.assert_close(pair[0].weight, pair[1].weight, rtol=0, atol=1e-12)
    assert (pair[0].weight < 1).any()


# a training like any other

def table_weights(model: Model) -> list[torch.nn.Parameter]:
    return [m.weight for m in model.modules() if isinstance(m, EmbeddingSets | FieldLinear)]

@pytest.mark.parametrize("optimizer", ADAGRAD)
@pytest.mark.parametrize("model", ["DCNv2", "xDeepFM", "FFM"])
def test_three_replicas_are_three_trainings(model, optimizer):
    data, how = dataset(3200), recipe(optimizer)
    variant = "released" if model == "FFM" else "paper" # the released FFM has a first-order term
    trio = make(model, variant)
    fit(trio, data, how, device="cpu", show=False)
    for r, seed in enumerate(SEEDS):
        lone = make(model, variant, (seed,))
        fit(lone, data, how, device="cpu", show=False)
        for name, t in lone.replica_state(0).items():
            torch.testing.assert_close(trio.replica_state(r)[name], t, rtol=0, atol=1e-9,
                                       msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("optimizer", ADAGRAD)
def test_tables_have_their_rate_and_the_rest_has_adam(optimizer):
    "One step: the dense part is that of Adam alone, and no gradient is as large as a table."
    x, y = torch.as_tensor(dataset(64).train.x), torch.as_tensor(dataset(64).train.y)
    ours, adam = make("xDeepFM", "paper"), make("xDeepFM", "paper")
    start = [w.detach().clone() for w in table_weights(ours)]
    Step(ours, recipe(optimizer))(x, y)
    Step(adam, Recipe(batch_size=32))(x, y)
    of_tables = {id(w) for w in table_weights(ours)}
    for (name, a), b in zip(ours.named_parameters(), adam.parameters(), strict=True):
        if id(a) not in of_tables: torch.testing.assert_close(a, b, rtol=0, atol=1e-12, msg=name)
        else: assert a.grad.is_sparse and len(a.grad._values()) == x.numel()
    for w, before in zip(table_weights(ours), start, strict=True):
        moved = (w - before).abs()
        # a first step has the length of the rate, number by number or as the root mean square of a row
        if optimizer == "Adagrad": assert moved.max().item() == pytest.approx(LR, rel=1e-3)
        elif w is ours.embedding.weight:
            rows = moved.unflatten(1, (-1, 3)).square().mean(-1).sqrt()
            assert rows.max().item() == pytest.approx(LR, rel=1e-3)


@pytest.mark.parametrize("optimizer", ADAGRAD)
def test_penalties_on_tables_are_a_gradient_too(optimizer):
    "A regulariser of whole tables: replicas together are replicas alone, and rows without hits decay."
    data, how = dataset(640), recipe(optimizer)
    trio, start = make("DNN", "paper"), make("DNN", "paper")
    fit(trio, data, how, device="cpu", regularizer=squares, show=False)
    lone = make("DNN", "paper", SEEDS[:1])
    fit(lone, data, how, device="cpu", regularizer=squares, show=False)
    for name, t in lone.replica_state(0).items():
        torch.testing.assert_close(trio.replica_state(0)[name], t, rtol=0, atol=1e-9)
    never = SCHEMA.offsets[1] + 8
    assert (trio.embedding.weight[never].abs() < start.embedding.weight[never].abs()).all()


@pytest.mark.parametrize("optimizer", ADAGRAD)
def test_a_replica_that_fails_takes_none_along(optimizer):
    data, how = dataset(640), recipe(optimizer, max_epochs=3)
    trio, lone = make("DCNv2", "paper"), make("DCNv2", "paper", SEEDS[:1])
    with torch.no_grad(): trio.replica_state(1)["embedding.weight"][0, 0] = torch.nan
    result = fit(trio, data, how, device="cpu", show=False)
    fit(lone, data, how, device="cpu", show=False)
    assert result.frame.status.tolist() == ["done", "failed", "done"]
    for name, t in lone.replica_state(0).items():
        torch.testing.assert_close(trio.replica_state(0)[name], t, rtol=0, atol=1e-9)


@pytest.mark.parametrize("optimizer", ADAGRAD)
def test_a_frozen_field_stays(optimizer):
    data = dataset(640)
    data.schema = SCHEMA
    model = build(ModelSpec("DCNv2", "ME", 2, base_dim=3, hidden=8), SCHEMA, 2)
    freeze(model, "b", 2, 1.)
    start = [t.clone() for t in model.field_tables()]
    fit(model, data, recipe(optimizer), "cpu", show=False)
    assert [torch.equal(a, b) for a, b in zip(start, model.field_tables(), strict=True)] == [
        False, True, False, False]


@pytest.mark.parametrize("optimizer", ADAGRAD)
def test_runs_repeat_bit_for_bit_and_stop_one_by_one(optimizer):
    "With dropout, in single precision; replicas end at epochs of their own."
    data, how = dataset(1600), recipe(optimizer, max_epochs=6, patience=1, table_learning_rate=.2)
    models = [make("DNN", "paper", dropout=.2).float() for _ in range(2)]
    frame, again = (fit(model, data, how, device="cpu", show=False).frame for model in models)
    assert frame.epochs.nunique() > 1 and frame.epochs.tolist() == again.epochs.tolist()
    for a, b in zip(*(model.parameters() for model in models), strict=True): assert torch.equal(a, b)


@pytest.mark.skipif("bfloat16" not in reduced(torch.device("cpu")), reason="this CPU has no bfloat16")
@pytest.mark.parametrize("optimizer", ADAGRAD)
def test_bfloat16_leaves_tables_and_states_in_single_precision(optimizer):
    model = make("DNN", "paper").float()
    step = Step(model, recipe(optimizer, precision="bfloat16"))
    rows = dataset(64).train
    step(torch.as_tensor(rows.x), torch.as_tensor(rows.y))
    own, weight = step.steppers[0], model.embedding.weight
    assert weight.dtype == own.state[weight]["sum"].dtype == weight.grad.dtype == torch.float32
    assert own.state[weight]["sum"].any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("optimizer", ADAGRAD)
def test_a_gpu_takes_the_same_steps(optimizer):
    rows, pair = dataset(640).train, [make("DCNv2", "paper") for _ in range(2)]
    x, y = torch.as_tensor(rows.x), torch.as_tensor(rows.y)
    for model, device in zip(pair, ("cpu", "cuda"), strict=True):
        step = Step(model.to(device), recipe(optimizer))
        assert step.graph is None
        for a, b in zip(x.split(32), y.split(32), strict=True): step(a.to(device), b.to(device))
    for a, b in zip(*(model.parameters() for model in pair), strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=0, atol=1e-9)


# the record

def test_identities_of_recipes_are_what_they_were():
    "The ids that groups had before tables had optimisers of their own."
    group = lambda **how: Group(dataset="toy", fingerprint="0f", spec=ModelSpec("DNN"), seeds=(0,),
                                recipe=Recipe(**how)).id
    assert [group(), group(optimizer="SparseAdam"), group(optimizer="AdamW", batch_norm="running")] == [
        "7147c969933b4d96", "6c57b1c5cd8b3f36", "c1f82e0106a25fca"]
    assert len({group(optimizer=o) for o in ADAGRAD}
               | {group(optimizer="Adagrad", table_learning_rate=.1), group()}) == 4


@pytest.mark.parametrize("given, says", [
    (dict(table_learning_rate=.1), "table_learning_rate = 0.1 was given and Adam has one rate for all"),
    (dict(table_learning_rate=.1, optimizer="SparseAdam"), "SparseAdam has one rate for all"),
    (dict(table_learning_rate=0, optimizer="Adagrad"), "table_learning_rate = 0: give more than 0."),
    (dict(table_learning_rate=float("nan"), optimizer="Adagrad"), "nan: give a finite number"),
    (dict(table_learning_rate="fast", optimizer="RowWiseAdagrad"), "'fast': give a number."),
    (dict(learning_rate=float("inf")), "learning_rate = inf: give a finite number"),
    (dict(weight_decay=float("inf")), "weight_decay = inf: give a finite number"),
    (dict(optimizer="RowwiseAdagrad"), "did you mean 'RowWiseAdagrad'?")])
def test_an_option_that_an_optimiser_does_not_have_is_a_sentence(given, says):
    with pytest.raises(InputError) as err: Recipe(**given)
    assert says in str(err.value) and "\n" not in str(err.value)


def test_a_store_files_and_finds_the_runs(tmp_path):
    data, store = dataset(320), RunStore(tmp_path, weights=True)
    spec, rate = ModelSpec("DNN", "ME", 2, base_dim=3, hidden=8), {}
    for optimizer in ("Adam", *ADAGRAD):
        how = Recipe(optimizer=optimizer, batch_size=32, max_epochs=1)
        group = Group(dataset="toy", fingerprint="0f", spec=spec, recipe=how, seeds=(0, 1))
        store.save(group, fit(build(spec, SCHEMA, 2), data, how, "cpu", show=False), {"train_rows": 320})
        assert next(g for g in store.groups() if g.id == group.id) == group
        rate[optimizer] = how.table_learning_rate
        assert ("table_learning_rate" in store.frame()) == (optimizer != "Adam") # which comes first
    frame = store.frame()
    assert frame.groupby("optimizer").size().to_dict() == dict.fromkeys(rate, 2)
    for optimizer, of in frame.groupby("optimizer"):
        assert of.table_learning_rate.isna().all() if rate[optimizer] is None else (
            of.table_learning_rate == rate[optimizer]).all()
