"Live models, state dicts, arrays and data frames: every tensor, under its own name, where it lies."
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from collapse_nb.checkpoints.live import read_arrays, read_mapping, read_module
from collapse_nb.fields import FieldSchema
from collapse_nb.nn.embedding import EmbeddingSets
from collapse_nb.nn.zoo import ModelSpec, build
from collapse_nb.records import InputError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fields = nn.ModuleDict({"user": nn.Embedding(5, 2, padding_idx=0),
                                     "tags": nn.EmbeddingBag(4, 2)})
        self.top = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.tied = nn.Linear(2, 5, bias=False)
        self.tied.weight = self.fields["user"].weight
        self.again = self.top # a module under two names

    def forward(self, x): return self.top(self.fields["user"](x))


def tensors(found) -> dict: return {tensor.key: tensor for tensor in found.tensors}


def is_of(found: dict, net: nn.Module) -> None:
    "The numbers of a model's state dict, under its names."
    state = net.state_dict()
    assert list(found) == list(state)
    for key, theirs in state.items():
        assert found[key].shape == theirs.shape and found[key].problem == ""
        np.testing.assert_array_equal(found[key].array(), theirs.detach().double().numpy())


def test_a_model_has_the_names_of_its_state_dict():
    net = Net()
    found = tensors(read_module(net))
    is_of(found, net)
    assert {key for key, tensor in found.items() if tensor.embedding} == {"fields.user.weight",
                                                                         "fields.tags.weight"}
    assert found["fields.user.weight"].padding == 0 and found["fields.tags.weight"].padding is None
    assert found["tied.weight"].storage == found["fields.user.weight"].storage
    assert found["again.0.weight"].storage == found["top.0.weight"].storage
    assert found["top.0.bias"].storage != found["top.0.weight"].storage


def test_a_models_numbers_are_read_when_they_are_asked_for():
    net = Net()
    found = tensors(read_module(net))
    with torch.no_grad(): net.top[0].weight.fill_(7)
    assert (found["top.0.weight"].array() == 7).all()


class Inner(nn.Module):
    "A model of which a part is compiled, and another is called module."
    def __init__(self):
        super().__init__()
        self.body, self.module = torch.compile(Net()), nn.Linear(2, 1)


@pytest.mark.filterwarnings("ignore") # torch's own, when its compiler is first imported
@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel,
                                  lambda net: torch.compile(nn.DataParallel(net))])
def test_wrappers_leave_names_alone_and_are_noted(wrap):
    net = Net()
    found = read_module(wrap(net))
    is_of(tensors(found), net)
    assert found.notes and all("without the prefix" in note for note in found.notes)
    inner = read_module(Inner())
    assert {"body.fields.user.weight", "module.weight"} <= set(tensors(inner))
    assert inner.notes == ["Names are given without the prefix _orig_mod of torch.compile."]


@pytest.fixture
def alone(tmp_path):
    "A process group of this process alone."
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore")
def test_wrappers_of_several_processes(alone):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

    net = Net()
    is_of(tensors(read_module(nn.parallel.DistributedDataParallel(net))), net)
    cpu, net = torch.device("cpu"), Net()
    state = {key: value.clone() for key, value in net.state_dict().items()}
    found = read_module(FullyShardedDataParallel(net, device_id=cpu, use_orig_params=True))
    assert list(tensors(found)) == list(state) and "_fsdp_wrapped_module" in found.notes[0]
    flat = read_module(FullyShardedDataParallel(nn.Linear(2, 1), device_id=cpu)).tensors
    assert any("FSDP keeps flat" in tensor.problem for tensor in flat)
    net = nn.Sequential(nn.Embedding(6, 2), nn.Linear(2, 1))
    state = {key: value.clone() for key, value in net.state_dict().items()}
    fully_shard(net, mesh=init_device_mesh("cpu", (1,)))
    found = tensors(read_module(net))
    assert list(found) == list(state) and found["0.weight"].embedding
    for key, theirs in state.items():
        np.testing.assert_array_equal(found[key].array(), theirs.numpy())
        assert "gathered from all processes" in found[key].note


def test_what_has_no_numbers_has_a_problem():
    net = nn.Sequential(nn.LazyLinear(3), nn.Linear(2, 2, device="meta"), nn.Linear(1, 1))
    found = tensors(read_module(net))
    assert "run a batch" in found["0.weight"].problem and "meta device" in found["1.weight"].problem
    assert found["2.weight"].problem == "" and found["1.weight"].shape == (2, 2)
    with pytest.raises(InputError, match="meta device"): found["1.weight"].array()
    with pytest.raises(InputError, match="no parameters"): read_module(nn.ReLU())


class EmbeddingBagCollection(nn.Module):
    "As torchrec names its own, whose sharded parts are no nn.EmbeddingBag."
    def __init__(self):
        super().__init__()
        part = nn.Module()
        part.weight = nn.Parameter(torch.ones(3, 2))
        self.embedding_bags = nn.ModuleDict({"t1": part})


def test_torchrecs_collections_are_embeddings():
    assert tensors(read_module(EmbeddingBagCollection()))["embedding_bags.t1.weight"].embedding


SCHEMA = FieldSchema(["hour", "site", "user"], [4, 9, 3])


@pytest.mark.parametrize("name, design", [("DCNv2", "ME"), ("FFM", "SE"), ("FM", "SE")])
def test_our_models_give_a_table_per_replica_set_and_field(name, design):
    model = build(ModelSpec(name, design, 4), SCHEMA, replicas=2)
    found = read_module(nn.ModuleDict({"m": model}))
    tables = [tensor for tensor in found.tensors if tensor.embedding]
    assert len({tensor.key for tensor in tables}) == len(tables) == len(model.tables())
    for tensor, ((r, s, i), table) in zip(tables, model.tables().items(), strict=True):
        assert tensor.key == f"m.r{r}.s{s}.{SCHEMA.names[i]}"
        np.testing.assert_array_equal(tensor.array(), table.detach().numpy())
    assert next(t.key for t in read_module(model).tensors if t.embedding) == "r0.s0.hour"
    others = {"m." + key for key in model.state_dict() if not key.startswith("embedding.")}
    assert others <= set(tensors(found))


def test_embedding_sets_without_a_model():
    sets = EmbeddingSets(SCHEMA, 2, 3)
    sets.reset([torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)])
    found = tensors(read_module(sets))
    np.testing.assert_array_equal(found["s1.site"].array(), sets.tables()[1][1].detach().numpy())


kinds = st.sampled_from(["f2", "f4", "f8", ">f4", "i1", "u1", "i4", "i8", "?"])


@given(kinds.flatmap(lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))),
       st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_arrays_come_back(array, most):
    found, = read_arrays(array).tensors
    np.testing.assert_array_equal(found.array(), array)
    assert all(len(block) <= most for block in found.read(most))
    if array.dtype.isnative and array.dtype != bool:
        same, = read_arrays(torch.from_numpy(array)).tensors
        np.testing.assert_array_equal(same.array(), array)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_data_frames(make):
    columns = {"x": np.arange(7.), "y": np.arange(7), "z": np.arange(7) % 2 == 0}
    found, = read_arrays(make(columns), "t").tensors
    assert found.shape == (7, 3) and sum(map(len, found.read(3))) == 7
    np.testing.assert_array_equal(found.array(), np.column_stack(list(columns.values())))
    with pytest.raises(InputError, match=r"'word': leave them out"):
        read_arrays(make({**columns, "word": list("abcdefg")}))
    with pytest.raises(InputError, match="'when'"):
        read_arrays(make({"when": np.array(["2020-01-01"] * 2, "datetime64[ns]")}))


def test_missing_values_of_data_frames_are_nan():
    frame = pd.DataFrame({"x": pd.array([1, None], "Int64"), "y": [1., 2.]}, index=["milk", "tea"])
    found = read_arrays(frame, "t")
    np.testing.assert_array_equal(found.tensors[0].array(), [[1, 1], [np.nan, 2]])
    assert list(found.values["t.ids"]) == ["milk", "tea"]
    lone, = read_arrays(pd.DataFrame(np.ones((3, 2), np.float32))).tensors
    assert lone.dtype == "float32" and lone.array().dtype == np.float32


@pytest.mark.parametrize("value, why", [
    (np.array(["a"]), "not numbers"), (np.array([1j]), "not numbers"), (np.array([None]), "not numbers"),
    ("a", "of the type str"),
    (torch.ones(2, dtype=torch.complex64), "complex64"), (torch.eye(2).to_sparse(), "sparse"),
    (torch.empty(2, device="meta"), "meta device")])
def test_what_is_no_table_is_refused(value, why):
    with pytest.raises(InputError, match=why): read_arrays(value)


def test_mappings_of_anything():
    net = Net()
    plain = read_mapping(net.state_dict())
    is_of(tensors(plain), net)
    assert plain.values == {}
    mixed = {"net": net, "frame": pd.DataFrame({"x": [1.]}, index=["a"]), "bad": np.array(["x"]),
             3: [np.ones(2)], "lr": np.float32(0.5), "odd": {1, 2}}
    found = read_mapping(mixed)
    assert {"net.top.0.weight", "frame", "3.0"} <= set(tensors(found)) and found.values["lr"] == 0.5
    assert "not numbers" in tensors(found)["bad"].problem
    assert found.notes == ["odd is a set, and was left."]
    loop = {"w": torch.ones(2)}
    loop["self"] = loop
    with pytest.raises(InputError, match="nested more than"): read_mapping(loop)
