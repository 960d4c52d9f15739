"Whose fault: the interaction of somebody else's model, read from its weights and measured."
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from collapse_nb.checkpoints.tensors import Checkpoint, of_array
from collapse_nb.evidence import collapse_law, field_abundance, sub_embedding_abundance
from collapse_nb.fields import FieldSchema
from collapse_nb.nn.zoo import ModelSpec, build
from collapse_nb.records import InputError
from collapse_nb.your_interaction import CAUTION, interaction_law
from collapse_nb.your_sets import Concatenated, multi_embedding

CHECKPOINTS = Path(__file__).parent / "checkpoints" # written by the packages themselves


def state(widths: dict[str, int], seed: int = 0, rows: int = 30, vectors: bool = False) -> dict:
    "The state dict of a DeepCTR-Torch DCN, of random numbers."
    noise, d = torch.Generator().manual_seed(seed), sum(widths.values())
    tables = {f"embedding_dict.{n}.weight": torch.randn(rows, k, generator=noise) for n, k in widths.items()}
    return tables | {"crossnet.kernels": torch.randn(2, d, 1 if vectors else d, generator=noise)}

def by_hand(tables: list[np.ndarray], weight: np.ndarray) -> np.ndarray:
    "IA(E_i W_{i->j}^T) for every pair, from the tables themselves."
    ends = list(accumulate((t.shape[1] for t in tables), initial=0))
    out = np.zeros((len(tables),) * 2)
    for i, table in enumerate(tables):
        for j in range(len(tables)):
            s = np.linalg.svd(table @ weight[ends[j]:ends[j + 1], ends[i]:ends[i + 1]].T, compute_uv=False)
            out[i, j] = s.sum() / s[0]
    return out


@pytest.mark.parametrize("widths", [dict.fromkeys("abcde", 4), dict(a=2, b=7, c=4, d=1, e=3)])
def test_sub_embeddings_are_those_of_the_tables(widths):
    given = state(widths)
    found = interaction_law(given, permutations=99)
    tables = [given[f"embedding_dict.{n}.weight"].double().numpy() for n in widths]
    expected = by_hand(tables, given["crossnet.kernels"][0].double().numpy())
    np.testing.assert_allclose(found.abundance[0, 0], expected, rtol=1e-9)


def test_the_zoo_is_read_as_evidence_reads_it():
    schema = FieldSchema("abcdef", [50, 4, 30, 9, 3, 80])
    model = build(ModelSpec("DCNv2", "ME", 2, base_dim=3, hidden=4), schema, replicas=3)
    found = interaction_law(model, permutations=199)
    matrix = sub_embedding_abundance(model)
    np.testing.assert_allclose(found.abundance, matrix.numpy(), rtol=1e-9)
    law = collapse_law(matrix, field_abundance(model), np.log(schema.cardinalities), permutations=199)
    assert abs(found.law.rho - law.rho) < 1e-6 and found.law.p == law.p
    assert len(found.frame()) == 3 * 2 * 6 * 5 and len(found.law.per_seed) == 3


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=4, max_size=6), st.integers(0, 10**6))
def test_what_must_not_matter_does_not(widths, seed):
    "Another order of the fields, another basis of their embeddings with W turned along, and other scales."
    names = {f"f{i}": k for i, k in enumerate(widths)}
    given, noise = state(names, seed), np.random.default_rng(seed)
    before = interaction_law(given, permutations=9)
    ends = list(accumulate(widths, initial=0))
    order = noise.permutation(len(widths))
    columns = np.concatenate([np.arange(ends[i], ends[i + 1]) for i in order])
    turned, d = torch.zeros(sum(widths), sum(widths)), {}
    for i, (name, k) in enumerate(names.items()):
        q = torch.linalg.qr(torch.randn(k, k, generator=torch.Generator().manual_seed(seed + i)))[0]
        d[name] = given[f"embedding_dict.{name}.weight"] @ q * float(noise.uniform(.1, 10))
        turned[ends[i]:ends[i + 1], ends[i]:ends[i + 1]] = q
    weight = (turned.T @ given["crossnet.kernels"][0] @ turned)[columns][:, columns]
    moved = {f"embedding_dict.f{i}.weight": d[f"f{i}"] for i in order} | {"crossnet.kernels": weight[None]}
    after = interaction_law(moved, permutations=9)
    assert after.names == tuple(f"f{i}" for i in order)
    np.testing.assert_allclose(after.abundance[0, 0], before.abundance[0, 0][order][:, order], rtol=1e-3)


@pytest.mark.parametrize("widths", [dict.fromkeys("abcdef", 5), dict(a=2, b=7, c=4, d=3, e=3, f=9)])
def test_vectors_have_rank_one_and_nothing_is_claimed(widths):
    found = interaction_law(state(widths, vectors=True))
    np.testing.assert_allclose(found.abundance, 1, rtol=1e-6)
    np.testing.assert_allclose(found.untrained, 1, rtol=1e-6)
    assert found.law is None and "the law says nothing" in found.sentences()[-1]
    assert found.ranking().pull.isna().all() and (found.frame().contribution == 0).all()


def test_a_layer_of_low_rank_is_held_against_layers_of_its_rank():
    "TorchRec's LowRankCrossNet, of random weights and other widths: no field stands out for its width."
    widths, found = dict(a=2, b=9, c=4, d=9, e=2, f=9), []
    for seed in range(60):
        noise = torch.Generator().manual_seed(seed)
        given = {f"embedding_dict.{n}.weight": torch.randn(30, k, generator=noise) for n, k in widths.items()}
        low = {"x.W_kernels.0": torch.randn(35, 3, generator=noise),
               "x.V_kernels.0": torch.randn(3, 35, generator=noise)}
        found.append(interaction_law(given | low, permutations=99))
    assert max(f.abundance.max() for f in found) <= 3 + 1e-9
    ratio = np.mean([f.abundance / f.untrained for f in found], (0, 1, 2))
    np.testing.assert_allclose(ratio, 1, atol=.12)
    assert sum(f.law.p <= .05 for f in found) <= 8 and sum(f.pulls.p_holm.min() <= .05 for f in found) <= 8


def test_a_number_for_each_pair_leaves_abundance_as_it_is():
    "FuxiCTR's FwFM, with a numeric field in the middle: r_ij scales, and the scale cancels."
    names, torch_state = ["user", "price", "item", "city", "hour"], {}
    for name in names:
        shape = (4, 1) if name == "price" else (30, 4)
        torch_state[f"embedding_layer.embedding_layer.embedding_layers.{name}.weight"] = torch.randn(*shape)
    found = interaction_law(torch_state | {"interaction_weight.weight": torch.randn(1, 10)})
    assert found.names == ("user", "item", "city", "hour") and found.law is None
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(found.abundance[0, 0][off], np.tile(found.field[0, 0][:, None], 4)[off])
    model = build(ModelSpec("NFwFM", hidden=4), FieldSchema("abcd", [9, 9, 9, 9]))
    assert interaction_law(model).law is None


def test_contributions_add_up_and_the_frame_is_in_order():
    found = interaction_law(state(dict.fromkeys("abcdefg", 4)), permutations=99)
    frame = found.frame()
    assert abs(frame.contribution.sum() - found.law.rho) < 1e-9 and frame.deviation.is_monotonic_increasing
    row = frame.iloc[0]
    i, j = found.names.index(row.field), found.names.index(row.partner)
    assert row.abundance == found.abundance[0, 0, i, j] and row.partner_abundance == found.field[0, 0, j]
    logs = np.log(np.delete(found.abundance[0, 0, i], i))
    assert np.isclose(row.deviation, np.exp(np.log(row.abundance) - logs.mean()) - 1)


def test_no_sentence_claims_more_than_its_interval():
    "Of models with random weights hardly one is told a culprit, and each is told that this is no cause."
    told = 0
    for seed in range(30):
        found = interaction_law(state(dict.fromkeys("abcdefg", 4), seed), permutations=199)
        said = found.sentences()
        told += any("Sub-embeddings for" in each for each in said)
        assert said[-1] == CAUTION
        assert any("cannot be told" in each for each in said) or found.ranking().p_holm.min() <= .05
    assert told <= 4


def test_a_field_of_zeros_is_left_out_and_named():
    given = state(dict.fromkeys("abcdef", 4))
    given["embedding_dict.c.weight"] = torch.zeros(30, 4)
    found = interaction_law(given, permutations=99)
    assert found.names == tuple("abdef") and any("not finite: c" in said for said in found.how)
    given["embedding_dict.a.weight"][0, 0] = torch.nan
    assert interaction_law(given, permutations=99).names == tuple("bdef")


@pytest.mark.parametrize("spoil, complaint", [
    (lambda s: {k: t for k, t in s.items() if "crossnet" not in k}, "no interaction is recognised"),
    (lambda s: {k: t for k, t in s.items() if "embedding" not in k}, "no interaction is recognised"),
    (lambda s: {k: t for k, t in s.items() if ".a." not in k}, "12 columns together and the cross layer"),
    (lambda s: s | {"other.cross_layers.0.weight": torch.ones(16, 16)}, "several cross networks were found"),
    (lambda s: {k: torch.zeros_like(t) for k, t in s.items()}, "fields with a table were found"),
])
def test_what_is_missing_is_said_in_a_sentence(spoil, complaint):
    with pytest.raises(InputError) as err: interaction_law(spoil(state(dict.fromkeys("abcd", 4))))
    assert complaint in str(err.value) and "\n" not in str(err.value)


def test_formats_that_sort_their_keys_need_the_order():
    given = state(dict(zebra=2, ant=3, cat=4, dog=2))
    tensors = [of_array(key, t.numpy()) for key, t in sorted(given.items())]
    with pytest.raises(InputError, match="does not keep the order"):
        interaction_law(Checkpoint("safetensors", tensors))
    told = interaction_law(Checkpoint("safetensors", tensors), ["zebra", "ant", "cat", "dog"], permutations=9)
    np.testing.assert_array_equal(told.abundance, interaction_law(given, permutations=9).abundance)


def test_sets_of_a_wrapped_model_are_read_one_by_one():
    class CrossNet(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.cross_layers = nn.ModuleList([nn.Linear(d, d)])
        def forward(self, x): return x + x * self.cross_layers[0](x)
    model = multi_embedding(lambda: Concatenated(CrossNet(12)), dict.fromkeys("abcd", (20, 3)), sets=3)
    found = interaction_law(nn.Sequential(model), permutations=9)
    assert found.abundance.shape == (1, 3, 4, 4)
    for m, one in enumerate(model.sets):
        tables = [t.weight.detach().double().numpy() for t in one.tables.values()]
        weight = one.interaction.interaction.cross_layers[0].weight.detach().double().numpy()
        np.testing.assert_allclose(found.abundance[0, m], by_hand(tables, weight), rtol=1e-9)


def test_a_live_model_knows_its_shared_tables_and_dense_values():
    class SparseFeat(SimpleNamespace): pass
    class VarLenSparseFeat(SimpleNamespace): pass
    class DenseFeat(SimpleNamespace): pass
    given = state(dict(user=2, item=3, city=2, history=3))
    model = nn.Module()
    own = {name: given[f"embedding_dict.{name}.weight"] for name in ("user", "item", "city")}
    model.embedding_dict = nn.ModuleDict({n: nn.Embedding.from_pretrained(t) for n, t in own.items()})
    model.crossnet = nn.Module()
    model.crossnet.kernels = nn.Parameter(torch.zeros(1, 11, 11))
    model.crossnet.kernels.data[:, :10, :10] = given["crossnet.kernels"][:1]
    model.dnn_feature_columns = [
        DenseFeat(name="price", dimension=1), SparseFeat(name="user", embedding_dim=2, embedding_name="user"),
        VarLenSparseFeat(name="history", embedding_dim=3, embedding_name="item"),
        SparseFeat(name="item", embedding_dim=3, embedding_name="item"),
        SparseFeat(name="city", embedding_dim=2, embedding_name="city")]
    found = interaction_law(model, permutations=9)
    assert found.names == ("user", "item", "city", "history") and "left out: price" in found.how[1]
    given["embedding_dict.history.weight"] = given["embedding_dict.item.weight"]
    np.testing.assert_allclose(found.abundance, interaction_law(given, permutations=9).abundance, rtol=1e-9)


def random_ffm(names: str, k: int) -> dict:
    "Blocks E_i^{->j} of every ordered pair."
    noise = torch.Generator().manual_seed(3)
    return {(i, j): torch.randn(20 + ord(i) % 7, k, generator=noise) for i in names for j in names if i != j}

def as_fuxictr(blocks, names):
    return {f"embedding_layers.{k}.embedding_layer.embedding_layers.{i}.weight": blocks[i, j]
            for i in names for k, j in enumerate(n for n in names if n != i)}

def as_onn(blocks, names):
    return {f"second_order_embedding_dict.{i}+{j}.emb{end}.weight": blocks[pair]
            for a, i in enumerate(names) for j in names[a + 1:] for end, pair in ((1, (i, j)), (2, (j, i)))}

def as_rechub(blocks, names):
    def rows(i): return [blocks.get((i, j), torch.full((20 + ord(i) % 7, 3), 9.)) for j in names]
    return {f"ffm_embedding.embed_dict.{i}.weight": torch.stack(rows(i), 1).flatten(0, 1) for i in names}

def as_recbole(blocks, names):
    def of(i, j): return blocks.get((i, j), torch.full((20 + ord(i) % 7, 3), 9.))
    return {f"ffm.token_embeddings.{k}.weight": torch.cat([of(i, j) for i in names])
            for k, j in enumerate(names)}

def as_libffm(blocks, names):
    return {f"W.field_{k}": t for k, t in enumerate(as_recbole(blocks, names).values())}

@pytest.mark.parametrize("layout", [as_fuxictr, as_onn, as_rechub, as_recbole, as_libffm])
def test_every_layout_of_an_ffm_has_the_same_blocks(layout):
    names = "abcde"
    blocks = random_ffm(names, 3)
    fields = {i: 20 + ord(i) % 7 for i in names} if layout in (as_recbole, as_libffm) else None
    found = interaction_law(layout(blocks, names), fields=fields, permutations=99)
    assert found.names == tuple(names)
    for i, a in enumerate(names):
        for j, b in enumerate(names):
            if i == j: continue
            s = np.linalg.svd(blocks[a, b].double().numpy(), compute_uv=False)
            assert np.isclose(found.abundance[0, 0, i, j], s.sum() / s[0])
            rest = np.concatenate([blocks[b, c].double().numpy() for c in names if c not in (a, b)], 1)
            s = np.linalg.svd(rest, compute_uv=False)
            assert np.isclose(found.partner[0, 0, i, j], s.sum() / s[0])
    if fields:
        with pytest.raises(InputError, match="holds the rows of 5"): interaction_law(layout(blocks, names))


@pytest.mark.parametrize("file, tables, fields, names", [
    ("fuxictr/DCNv2.model", None, None, ("user", "item", "last_item", "city", "history")),
    ("deepctr_torch/dcn_weights.h5", ["user", "item", "city", "item", "item", 1], None,
     ("user", "item", "city", "item (2)", "item (3)")),
    ("deepctr_torch/onn_weights.h5", None, None, ("user", "item", "city")),
    ("torch_rechub/DCNv2.pth", ["user", "item", "city", "item", "item"], None,
     ("user", "item", "city", "item (2)", "item (3)")),
    ("recbole/DCNV2-Nov-30-2026_02-00-00.pth", None, dict(user_id=56, item_id=38, city=10),
     ("user_id", "item_id", "city", "token_seq_embedding_table.0"))])
def test_files_of_the_packages(file, tables, fields, names):
    found = interaction_law(CHECKPOINTS / file, tables, fields=fields, permutations=99)
    assert found.names == names and np.isfinite(found.frame().deviation).all()
    if tables:
        with pytest.raises(InputError, match="columns together and the cross layer"):
            interaction_law(CHECKPOINTS / file)

def test_a_model_without_a_known_interaction_says_what_is_missing():
    for file in ("fuxictr/DeepFM.model", "torch_rechub/DeepFM.pth", "implicit/als.npz"):
        with pytest.raises(InputError, match="no interaction is recognised"):
            interaction_law(CHECKPOINTS / file)


def test_deepctr_torch_itself():
    "The matrix that is read is the one that its cross layer multiplies by, in the order of its inputs."
    inputs = pytest.importorskip("deepctr_torch.inputs")
    models = pytest.importorskip("deepctr_torch.models")
    columns = [inputs.DenseFeat("price", 2), inputs.SparseFeat("user", 60, 4),
               inputs.VarLenSparseFeat(inputs.SparseFeat("history", 41, 6, embedding_name="item"), 5, "mean"),
               inputs.SparseFeat("item", 41, 6), inputs.SparseFeat("city", 13, 3)]
    model = models.DCN(columns, columns, 1, "matrix", (8,), init_std=.5).eval()
    seen = {}
    model.crossnet.register_forward_hook(lambda _, taken, made: seen.update(x0=taken[0], x1=made))
    ids = torch.randint(0, 13, (64, 10)).float() # every number fits every table
    with torch.no_grad(): model(ids)
    found = interaction_law(model, permutations=9)
    assert found.names == ("user", "item", "city", "history") and "left out: price" in found.how[1]
    weight, x0 = model.crossnet.kernels[0].detach(), seen["x0"]
    torch.testing.assert_close(x0 * (x0 @ weight.T) + x0, seen["x1"])
    at = model.feature_index
    for place, name in ((slice(0, 4), "user"), (slice(4, 10), "item"), (slice(10, 13), "city")):
        rows = ids[:, at[name][0]].long()
        torch.testing.assert_close(x0[:, place], model.embedding_dict[name].weight[rows].detach())
    with pytest.raises(InputError, match="13 columns together"): interaction_law(model.state_dict())
    order = ["user", "item", "city", "item", 2]
    np.testing.assert_array_equal(interaction_law(model.state_dict(), order, permutations=9).abundance,
                                  found.abundance)
