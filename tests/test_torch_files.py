"Files of torch.save, in every format: the numbers of torch.load, bit for bit, and nothing is executed."
import argparse
import pickle
import struct
import zipfile
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from collapse_nb.checkpoints import torch_files as module
from collapse_nb.checkpoints.tensors import Checkpoint
from collapse_nb.checkpoints.torch_files import is_torch, read_torch
from collapse_nb.records import InputError

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{theirs}") for theirs in (
    "TypedStorage is deprecated", "functions that produce tensors", "Detected pickle protocol 4",
    "torch.jit.script", "Sparse CSR", "Couldn't retrieve source code", "nested tensors is in prototype")]

DTYPES = ["float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz",
          "float8_e5m2fnuz", "int8", "uint8", "int16", "uint16", "int32", "int64", "bool"]
VIEWS = {"whole": lambda t: t, "transposed": lambda t: t.T, "rows": lambda t: t[2:],
         "every other": lambda t: t[::2],
         "columns": lambda t: t[:, 1:3], "expanded": lambda t: t[:1].expand(5, -1), "a row": lambda t: t[1],
         "a number": lambda t: t[1, 1], "none": lambda t: t[:0],
         "deep": lambda t: t.reshape(2, -1, 2).permute(2, 0, 1)}
FORMATS = [(2, True), (4, True), (2, False), (4, False)] # (protocol of the pickle, zip or the older format)


def write(value: object, path: Path, how: tuple[int, bool] = (2, True)) -> Path:
    torch.save(value, path, pickle_protocol=how[0], _use_new_zipfile_serialization=how[1])
    return path


def tensors(path: Path) -> dict: return {tensor.key: tensor for tensor in read_torch(path).tensors}


def same(ours, theirs: torch.Tensor) -> None:
    "Bit for bit, whatever the blocks."
    expected = (theirs.dequantize() if theirs.is_quantized else theirs.double()).numpy()
    assert ours.shape == theirs.shape and ours.problem == ""
    np.testing.assert_array_equal(ours.array(), expected)
    blocks = list(ours.read(2))
    assert all(len(block) <= 2 for block in blocks)
    if theirs.ndim and len(blocks): np.testing.assert_array_equal(np.concatenate(blocks), expected)


@pytest.fixture(scope="module")
def place(tmp_path_factory): return tmp_path_factory.mktemp("files") / "x.model"


@given(st.sampled_from(DTYPES), st.sampled_from(sorted(VIEWS)), st.sampled_from(FORMATS), st.integers(0, 9),
       st.sampled_from([8, 40, 2**24]))
@settings(max_examples=120, deadline=None)
def test_every_number_of_every_view_comes_back(place, dtype, view, how, seed, span):
    table = torch.randint(0, 256, (6, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    table = table % 2 == 1 if dtype == "bool" else table.view(getattr(torch, dtype))
    table = VIEWS[view](table[:, :8])
    state = {"t": table, "param": nn.Parameter(table, requires_grad=False)}
    write(state, place, how)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SPAN", span) # so that a view is read in many stretches
        found = tensors(place)
        for key, theirs in state.items(): same(found[key], theirs.detach())


@pytest.mark.parametrize("how", FORMATS)
@pytest.mark.parametrize("make", [
    lambda t: torch.quantize_per_tensor(t, 0.037, 3, torch.qint8),
    lambda t: torch.quantize_per_tensor(t * 1e4, 1e-4, 7, torch.qint32),
    lambda t: torch.quantize_per_channel(t, torch.rand(40).double() / 9, torch.arange(40), 0, torch.qint8),
    lambda t: torch.quantize_per_channel(t, torch.rand(7).double() / 9, torch.arange(7), 1, torch.quint8),
    lambda t: torch.quantize_per_channel(t, torch.rand(40) / 9, torch.randn(40), 0, torch.quint8)])
def test_quantised_numbers_are_torchs(make, how, tmp_path):
    torch.manual_seed(0)
    path = write({"q": make(torch.randn(40, 7))}, tmp_path / "q", how)
    same(tensors(path)["q"], torch.load(path, weights_only=False)["q"])


@pytest.mark.parametrize("how", FORMATS)
def test_names_ties_and_slices(how, tmp_path):
    table = torch.randn(6, 2)
    state = {"state_dict": {"a": table, "tied": table, "tail": table[4:]}, "optimizer_states": [
        {"state": {0: {"exp_avg": torch.ones(6, 2)}}}], "epoch": 3, "lr": 0.1, "name": "DeepFM", "none": None}
    found = read_torch(write(state, tmp_path / "x", how))
    a, tied, tail, moment = found.tensors
    assert [t.key for t in found.tensors] == ["state_dict.a", "state_dict.tied", "state_dict.tail",
                                             "optimizer_states.0.state.0.exp_avg"]
    assert a.storage == tied.storage and a.storage[:2] == tail.storage[:2] and tail.storage[2] == 32
    assert moment.storage[:2] != a.storage[:2]
    assert found.values == {"epoch": 3, "lr": 0.1, "name": "DeepFM", "none": None}


class Kind(Enum): ADAM = "adam"


class Config:
    def __init__(self): self.sizes = {"user": 7, "path": Path("a/b")}


@pytest.mark.parametrize("how", FORMATS)
def test_what_weights_only_refuses_is_read(how, tmp_path):
    state = {"state_dict": {"w": torch.ones(3, 2)}, "config": Config(), "hyper_parameters": {
        "kind": Kind.ADAM, "rate": np.float32(0.5), "space": argparse.Namespace(dim=8)}}
    path = write(state, tmp_path / "x.ckpt", how)
    with pytest.raises(pickle.UnpicklingError): torch.load(path, weights_only=True)
    found = read_torch(path)
    assert [t.key for t in found.tensors] == ["state_dict.w"]
    assert found.values["config.sizes.user"] == 7 and found.values["hyper_parameters.space.dim"] == 8
    assert found.values["hyper_parameters.kind"] == "adam" and found.values["hyper_parameters.rate"] == 0.5
    assert "Config" in " ".join(found.notes)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding_dict = nn.ModuleDict({"user": nn.Embedding(5, 2, padding_idx=0),
                                             "tags": nn.EmbeddingBag(4, 2)})
        self.top = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.tied = nn.Linear(2, 5, bias=False)
        self.tied.weight = self.embedding_dict["user"].weight
        self.extra = {"array": np.eye(2)}


@pytest.mark.parametrize("how", FORMATS)
def test_a_whole_model_has_the_names_of_its_state_dict(how, tmp_path):
    net = Net()
    found = tensors(write(net, tmp_path / "net.h5", how))
    state = net.state_dict()
    assert set(found) == {*state, "extra.array"}
    for key, theirs in state.items(): same(found[key], theirs)
    assert {key for key, tensor in found.items() if tensor.embedding} == {"embedding_dict.user.weight",
                                                                         "embedding_dict.tags.weight"}
    assert found["embedding_dict.user.weight"].padding == 0
    assert found["tied.weight"].storage == found["embedding_dict.user.weight"].storage
    np.testing.assert_array_equal(found["extra.array"].array(), np.eye(2))


def test_torchscript_gives_its_parameters(tmp_path):
    net = nn.Sequential(nn.Embedding(4, 2), nn.Linear(2, 1))
    torch.jit.script(net).save(str(tmp_path / "x"))
    found = read_torch(tmp_path / "x")
    assert found.kind == "TorchScript archive" and is_torch(tmp_path / "x")
    for tensor in found.tensors: same(tensor, net.state_dict()[tensor.key])
    assert len(found.tensors) == 3


def test_tensors_without_plain_numbers_have_a_problem_and_others_none(tmp_path):
    odd = {"coo": torch.eye(3).to_sparse(), "csr": torch.eye(3).to_sparse_csr(),
           "meta": torch.empty(3, 2, device="meta"), "complex": torch.ones(2, dtype=torch.complex64),
           "nested": torch.nested.nested_tensor([torch.ones(2)]),
           "negated": torch._neg_view(torch.ones(3))}
    found = tensors(write({**odd, "plain": torch.ones(2, 2)}, tmp_path / "x"))
    for key in odd:
        assert found[key].problem.startswith(f"{key} ")
        with pytest.raises(InputError): found[key].array()
    same(found["plain"], torch.ones(2, 2))
    assert found["meta"].shape == (3, 2)


def rewritten(path: Path, change, compression: int = zipfile.ZIP_STORED) -> None:
    "Write an archive again, each member's bytes through `change`."
    with zipfile.ZipFile(path) as archive: parts = {n: archive.read(n) for n in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in parts.items(): archive.writestr(name, change(name.partition("/")[2], data))


def test_big_endian_files(tmp_path):
    state = {dtype: torch.arange(12).reshape(6, 2).to(getattr(torch, dtype)) for dtype in DTYPES}
    sizes = [theirs.element_size() for theirs in state.values()]
    path = write(state, tmp_path / "x")
    def swap(name, data):
        if name == "byteorder": return b"big"
        if not name.startswith("data/"): return data
        return np.frombuffer(data, f"u{sizes[int(name[5:])]}").byteswap().tobytes()
    rewritten(path, swap)
    found = tensors(path)
    for key, theirs in state.items(): same(found[key], theirs)
    same(found["float32"], torch.load(path)["float32"]) # as torch sees it


def test_compressed_archives(tmp_path):
    state = {"t": torch.randn(500, 4).T, "u": torch.zeros(5, 2)}
    path = write(state, tmp_path / "x")
    rewritten(path, lambda name, data: data, zipfile.ZIP_DEFLATED)
    for key, tensor in tensors(path).items(): same(tensor, state[key])
    data = bytearray(path.read_bytes())
    data[data.index(b"data/0") + 200] ^= 0xff
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged"): tensors(path)["t"].array()
    rewritten(write(state, path), lambda name, data: data, zipfile.ZIP_LZMA)
    with pytest.raises(InputError, match=r"without a data\.pkl"): read_torch(path)


class Lie:
    "A tensor whose sizes are not those of its storage."
    def __init__(self, *said): self.said = said
    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, (torch.ones(4).storage(), *self.said, False, {})


@pytest.mark.parametrize("said, why", [
    ((0, (2**50, 8), (8, 1)), "behind the 16"), ((2, (3,), (1,)), "ends 4 bytes"),
    ((0, (2, 2), (9, 1)), "behind"), ((-1, (2,), (1,)), "below zero"), ((0, (-2,), (1,)), "below zero"),
    ((0, (2,), (-1,)), "below zero"),
    ((0, (2**40, 4), (0, 1)), "without expanding"), ((0, (1, 2**28), (0, 0)), "a row of lie"),
    ((0, (2,), (1, 1)), "damaged"), ((0, ("a",), (1,)), "whole numbers"),
    ((0.5, (1,), (1,)), "whole numbers"),
    ((0, 7, (1,)), "whole numbers"), ((0, (1,) * 40, (1,) * 40), "damaged")])
def test_sizes_that_lie_are_seen_before_memory_is_taken(said, why, tmp_path):
    for how in FORMATS:
        found = tensors(write({"lie": Lie(*said), "ok": torch.ones(3)}, tmp_path / "x", how))
        assert why in found["lie"].problem
        same(found["ok"], torch.ones(3))


STATE = {"a": torch.arange(40.).reshape(10, 4), "b": torch.arange(600.), "c": {"d": torch.ones(3, 3).half()}}


def outcome(path: Path) -> list[str]:
    "Names of the tensors that can be read; everything else must be a sentence."
    try: found = read_torch(path)
    except InputError as err:
        assert "\n" not in str(err) and str(err).endswith(".")
        return []
    assert isinstance(found, Checkpoint)
    good = []
    for tensor in found.tensors:
        try: array = tensor.array()
        except InputError: continue
        assert array.shape == tensor.shape
        good.append(tensor.key)
    return good


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    return {zipped: write(STATE, folder / f"{zipped}", (2, zipped)).read_bytes() for zipped in (True, False)}


@given(st.booleans(), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6),
       st.one_of(st.just(1.), st.floats(0, 1)))
@settings(max_examples=300, deadline=None)
def test_damaged_files_end_in_sentences(place, files, zipped, flips, length):
    data = bytearray(files[zipped])
    for share, byte in flips: data[int(share * (len(data) - 1))] = byte
    place.write_bytes(data[:int(length * len(data))])
    outcome(place)
    is_torch(place)


def test_an_archive_whose_list_points_outside_is_refused(place, files):
    data = bytearray(files[True])
    entry = data.rfind(b"PK\6\6") + 48 # where the list of members begins, in 8 bytes
    begins = int.from_bytes(data[entry:entry + 8], "little")
    data[entry:entry + 8] = (begins + 2 * len(data)).to_bytes(8, "little")
    place.write_bytes(data)
    with pytest.raises(InputError, match="damaged"): read_torch(place)


def flat(data: dict, key: str = "") -> dict:
    parts = {}
    for name, value in data.items():
        parts |= flat(value, f"{key}{name}.") if isinstance(value, dict) else {key + name: value}
    return parts


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_anywhere_gives_what_is_there(files, zipped, tmp_path):
    path, whole, most = tmp_path / "x", files[zipped], 0
    for length in (*range(0, len(whole), 23), len(whole)):
        path.write_bytes(whole[:length])
        if not outcome(path): continue
        found = tensors(path)
        good = [key for key, tensor in found.items() if not tensor.problem]
        for key in good: same(found[key], flat(STATE)[key])
        assert len(good) >= most
        most = len(good)
    assert most == 3


class Touches:
    def __init__(self, path): self.path = path
    def __reduce__(self): return Path.touch, (self.path,)


@pytest.mark.parametrize("how", FORMATS)
def test_nothing_is_executed(how, tmp_path):
    marker = tmp_path / "marker"
    path = write({"x": Touches(marker), "w": torch.ones(2)}, tmp_path / "x", how)
    assert list(tensors(path)) == ["w"] and not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists() # as it is when somebody does execute it


@pytest.mark.parametrize("data, why", [
    (b"", "begins with"), (b"PK\3\4", "cut short"), (pickle.dumps({}), "begins with"),
    (b"\x80\x02", "begins with"), (b"PK\3\4" + bytes(100), "cut short")])
def test_other_files_are_refused(data, why, tmp_path):
    (path := tmp_path / "x").write_bytes(data)
    with pytest.raises(InputError, match=why): read_torch(path)
    assert not is_torch(path) or why == "cut short"
    with pytest.raises(InputError, match="is no file"): read_torch(tmp_path)


def test_archives_that_lie_about_their_members(tmp_path):
    path = write({"w": torch.ones(3)}, tmp_path / "x")
    data = path.read_bytes()
    start = data.rindex(b"PK\1\2")
    while b"data/0" not in data[start:start + 80]: start = data.rindex(b"PK\1\2", 0, start)
    lying = bytearray(data)
    struct.pack_into("<II", lying, start + 20, 2**31, 2**31) # sizes of the member
    path.write_bytes(lying)
    assert "not in" in tensors(path)["w"].problem
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(2000): archive.writestr(f"{i}/{'n' * 10_000}", b"")
    with pytest.raises(InputError, match="list of members"): read_torch(path)
