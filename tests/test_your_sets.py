"Multi-embedding around a module of somebody else's: the same numbers as the zoo's, and the costs."
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from collapse_nb.fields import FieldSchema
from collapse_nb.nn.interactions import CrossNetwork
from collapse_nb.nn.layers import hidden_stack
from collapse_nb.nn.zoo import ModelSpec, build
from collapse_nb.records import InputError
from collapse_nb.your_sets import (
    Concatenated,
    fresh_table,
    multi_embedding,
    single_embedding,
    start_of,
)

SCHEMA = FieldSchema(["user", "item", "hour", "site"], [50, 30, 24, 7])


class CrossAndHidden(nn.Module):
    "The zoo's cross network and first hidden layer, of one copy, for a list of embeddings."
    def __init__(self, dim: int, hidden: int):
        super().__init__()
        N = SCHEMA.num_fields
        self.cross, self.hidden = CrossNetwork(1, N, dim), hidden_stack(1, N * dim, hidden, 1, dropout=0.)

    def forward(self, embeddings): return self.hidden(self.cross(torch.stack(embeddings, 1)[None]))[0]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("sets", [1, 2, 5])
def test_equal_to_the_zoos_multi_embedding(sets, training):
    "Weights copied set by set: the logits and the gradients of every table are the zoo's, in float64."
    design = "SE" if sets == 1 else "ME"
    zoo = build(ModelSpec("DCNv2", design, sets, base_dim=6, hidden=8, dropout=0.), SCHEMA).double()
    ours = multi_embedding(lambda: CrossAndHidden(6, 8), dict.fromkeys(SCHEMA.names, (1, 6)), sets).double()
    tables = zoo.field_tables()
    for m, one in enumerate(ours.sets):
        for field, table in enumerate(one.tables.values()):
            table.weight = nn.Parameter(tables[field][0, m].detach().clone())
            table.num_embeddings = len(table.weight)
        for mine, its in ((one.interaction.cross, zoo.interaction), (one.interaction.hidden, zoo.projection)):
            mine.load_state_dict({name: value.chunk(sets)[m] for name, value in its.state_dict().items()})
    zoo.train(training)
    ours.train(training)
    x = torch.stack([torch.randint(0, d, (64,)) for d in SCHEMA.cardinalities], 1)
    expected, got = zoo(x)[0], zoo.head(ours(x)[None])[0]
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    expected.sum().backward()
    theirs = [t.clone() for t in zoo.embedding.weight.grad.unflatten(1, (sets, -1)).unbind(1)]
    zoo.zero_grad()
    got.sum().backward()
    for one, grad in zip(ours.sets, theirs, strict=True):
        mine = torch.cat([table.weight.grad for table in one.tables.values()])
        torch.testing.assert_close(mine, grad, rtol=1e-11, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.permutations(range(4)), st.integers(0, 10**6))
def test_sets_may_change_places(sets, order, seed):
    torch.manual_seed(seed)
    model = multi_embedding(lambda: Concatenated(nn.Sequential(nn.Linear(6, 3), nn.ReLU())),
                            [nn.Embedding(9, 2), nn.Embedding(5, 4)], sets).double()
    ids = torch.stack([torch.randint(0, 9, (7,)), torch.randint(0, 5, (7,))], 1)
    before = model(ids)
    each = torch.stack([one(ids) for one in model.sets])
    torch.testing.assert_close(before, each.sum(0) / sets)
    model.sets = nn.ModuleList([model.sets[k] for k in order if k < sets])
    torch.testing.assert_close(model(ids), before)


@pytest.mark.parametrize("begin, kind", [
    (lambda w: nn.init.normal_(w, std=1e-4), "normal"), (nn.init.xavier_uniform_, "uniform"),
    (lambda w: nn.init.uniform_(w, -.05, .05), "uniform"), (nn.init.normal_, "normal"),
    (lambda w: nn.init.trunc_normal_(w, std=.02, a=-.04, b=.04), "normal")])
def test_fresh_tables_start_as_the_given_ones(begin, kind):
    torch.manual_seed(1)
    table = nn.Embedding(3000, 8, padding_idx=7)
    with torch.no_grad(): begin(table.weight)[7] = 0
    fresh = fresh_table(table, times=3)
    assert start_of(table.weight, 7)[0] == kind and fresh.weight.shape == (3000, 24)
    assert abs(start_of(fresh.weight, 7)[1] / start_of(table.weight, 7)[1] - 1) < .02
    assert not fresh.weight[7].any() and fresh.padding_idx == 7
    assert abs(np.corrcoef(fresh.weight[:, :8].detach().ravel(), table.weight.detach().ravel())[0, 1]) < .02


def test_a_class_of_ones_own_is_reset():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(5, 2))
        def reset_parameters(self): nn.init.constant_(self.weight, 3)
        def forward(self, ids): return self.weight[ids]
    own = Own()
    model = multi_embedding(Concatenated, {"x": own}, sets=2)
    assert model(torch.tensor([[1]])).tolist() == [[3., 3.]] and not own.weight.any()
    with pytest.raises(InputError, match="a Own was given, which cannot be made anew"):
        single_embedding(Concatenated, {"x": own}, times=2)


def test_costs_are_those_counted_by_hand():
    def make(): return Concatenated(nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 4)))
    model = multi_embedding(make, {"a": (100, 4), "b": (7, 6)}, sets=3)
    cost = model.cost()
    tables, dense, products = 100 * 4 + 7 * 6, 10 * 16 + 16 + 16 * 4 + 4, 10 * 16 + 16 * 4
    assert cost.sets.tolist() == [1, 3] and cost.table_parameters.tolist() == [tables, 3 * tables]
    assert cost.interaction_parameters.tolist() == [dense, 3 * dense]
    assert cost.multiply_adds.tolist() == [products, 3 * products] and model.training
    assert f"3 sets of 2 tables; {3 * (tables + dense):,} parameters" in repr(model)
    with_dense = multi_embedding(lambda: Concatenated(nn.Linear(12, 2)), {"a": (100, 4), "b": (7, 6)})
    ids = {"a": torch.tensor([3]), "b": torch.tensor([1])}
    assert with_dense.cost(ids, torch.ones(1, 2)).multiply_adds.tolist() == [24, 48]


def test_every_set_learns_and_none_is_shared():
    model = multi_embedding(lambda: Concatenated(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))),
                            {"a": nn.Embedding(5, 4)}, sets=2)
    assert len({p.data_ptr() for p in model.parameters()}) == len(list(model.parameters())) == 2 * 5
    model(torch.arange(5)[:, None]).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


# ------------------------------------------------------------------------------- packages, where installed

def test_deepctr_torch_dcn():
    layers = pytest.importorskip("deepctr_torch.layers")
    inputs = pytest.importorskip("deepctr_torch.inputs")
    models = pytest.importorskip("deepctr_torch.models")
    columns = [inputs.SparseFeat(n, d, 4) for n, d in zip(SCHEMA.names, SCHEMA.cardinalities, strict=True)]
    dcn = models.DCN(columns, columns, cross_parameterization="matrix", dnn_hidden_units=(8,))
    def make(): return Concatenated(layers.CrossNet(16, 2, "matrix"))
    model = multi_embedding(make, dcn.embedding_dict, sets=3)
    x = torch.stack([torch.randint(0, d, (9,)) for d in SCHEMA.cardinalities], 1)
    assert model(x).shape == (9, 16)
    assert model.cost().multiply_adds.tolist() == [2 * 16 * 16, 3 * 2 * 16 * 16]
    stds = [start_of(t.weight)[1] for one in model.sets for t in one.tables.values()]
    assert max(abs(std - 1e-4) for std in stds) < 4e-5 # DeepCTR-Torch's init_std
    model.sets[0].interaction.interaction.load_state_dict(dcn.crossnet.state_dict())
    for name, table in dcn.embedding_dict.items(): model.sets[0].tables[name].weight.data = table.weight.data
    torch.testing.assert_close(model.sets[0](x), dcn.crossnet(torch.cat([
        dcn.embedding_dict[n](x[:, i]) for i, n in enumerate(SCHEMA.names)], -1)))

def test_fuxictr_dcnv2():
    layers = pytest.importorskip("fuxictr.pytorch.layers")
    given = nn.ModuleDict({n: nn.Embedding(d, 4, padding_idx=0)
                           for n, d in zip(SCHEMA.names, SCHEMA.cardinalities, strict=True)})
    def make(): return Concatenated(nn.Sequential(
        layers.CrossNetV2(16, 2), layers.MLP_Block(16, [8], output_dim=None)))
    model = multi_embedding(make, given, sets=2)
    x = torch.stack([torch.randint(0, d, (9,)) for d in SCHEMA.cardinalities], 1)
    assert model(x).shape == (9, 8) and all(t.padding_idx == 0 for t in model.sets[1].tables.values())
    assert model.cost().multiply_adds.tolist() == [2 * 256 + 128, 2 * (2 * 256 + 128)]


def test_fields_that_share_a_table_share_one_in_every_set():
    "And nothing is counted twice; a field without ids is named."
    shared, own = torch.nn.Embedding(50, 4), torch.nn.Embedding(20, 4)
    tables = {"user": shared, "friend": shared, "item": own}
    for model, sets, width in [(multi_embedding(Concatenated, tables, sets=2), 2, 4),
                               (single_embedding(Concatenated, tables, times=3), 1, 12)]:
        assert sum(p.numel() for p in model.parameters()) == sets * (50 + 20) * width
    with pytest.raises(InputError, match="item is missing"):
        multi_embedding(Concatenated, tables, sets=2)({"user": torch.zeros(2).long(),
                                                       "friend": torch.zeros(2).long()})
