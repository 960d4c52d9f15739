"Folders of torch.distributed.checkpoint: what two processes saved in pieces is one table, bit for bit."
import math
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse_nb.checkpoints import distributed as module
from collapse_nb.checkpoints.distributed import StoredChunk, read_distributed
from collapse_nb.records import InputError

SAVE = """
import sys
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

rank, store, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))
tables = torch.load(folder + ".pt")
held = {f"{how}.{name}": distribute_tensor(table, mesh, [placed]) for name, table in tables.items()
        for how, placed in (("rows", Shard(0)), ("columns", Shard(1)), ("both", Replicate()))}
dcp.save({"model": held, "epoch": 3}, checkpoint_id=folder)
dist.destroy_process_group()
"""
TABLES = {"item": torch.randn(7, 5), "half": torch.randn(4, 3).half(), "narrow": torch.randn(9, 2).bfloat16(),
          "ids": torch.arange(6).reshape(3, 2), "few": torch.ones(1, 4)}


def read(folder: Path) -> dict: return {tensor.key: tensor for tensor in read_distributed(folder).tensors}


def same(ours, theirs: torch.Tensor) -> None:
    "Bit for bit, whatever the blocks."
    assert ours.problem == "" and ours.shape == theirs.shape
    expected = theirs.double().numpy()
    np.testing.assert_array_equal(ours.array(), expected)
    for most in (1, 2, 100):
        blocks = list(ours.read(most))
        assert all(len(block) <= most for block in blocks)
        if theirs.ndim and blocks: np.testing.assert_array_equal(np.concatenate(blocks), expected)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    "A folder that two processes wrote."
    folder = tmp_path_factory.mktemp("two") / "folder"
    torch.save(TABLES, f"{folder}.pt")
    ranks = [subprocess.Popen([sys.executable, "-c", SAVE, str(rank), f"{folder}.store", str(folder)],
                              stderr=subprocess.PIPE, text=True) for rank in range(2)]
    errors = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], errors
    return folder


def copied(folder: Path, to: Path) -> Path:
    to.mkdir()
    for file in folder.iterdir(): (to / file.name).write_bytes(file.read_bytes())
    return to


def test_pieces_of_two_processes_are_joined(saved):
    found = read_distributed(saved)
    assert {file.name for file in saved.iterdir()} == {".metadata", "__0_0.distcp", "__1_0.distcp"}
    assert len(found.tensors) == 3 * len(TABLES)
    for tensor in found.tensors: same(tensor, TABLES[tensor.key.rpartition(".")[2]])
    assert "2 pieces" in {tensor.note for tensor in found.tensors}
    assert "epoch" in found.notes[0]


def test_a_missing_or_short_file_leaves_the_other_tables(saved, tmp_path):
    folder = copied(saved, tmp_path / "x")
    (folder / "__1_0.distcp").unlink()
    found = read(folder)
    assert "__1_0.distcp, which is not in" in found["model.rows.item"].problem
    with pytest.raises(InputError): found["model.columns.item"].array()
    whole = [tensor for tensor in found.values() if not tensor.problem]
    assert whole
    for tensor in whole: same(tensor, TABLES[tensor.key.rpartition(".")[2]])
    folder = copied(saved, tmp_path / "y")
    (folder / "__0_0.distcp").write_bytes((saved / "__0_0.distcp").read_bytes()[:2000])
    assert any("copy that file again" in tensor.problem for tensor in read(folder).values())


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_one_process(tmp_path):
    state = {"a": torch.randn(5, 3),
             "b": {"c": torch.tensor(2.), "d": torch.zeros(0, 4), "e": torch.ones(3, 2).T},
             "list": [torch.ones(2)], "text": "x"}
    dcp.save(state, checkpoint_id=tmp_path / "x", no_dist=True)
    found = read(tmp_path / "x")
    back = {"a": torch.zeros(5, 3),
            "b": {"c": torch.tensor(0.), "d": torch.zeros(0, 4), "e": torch.zeros(2, 3)},
            "list": [torch.zeros(2)], "text": ""}
    dcp.load(back, checkpoint_id=tmp_path / "x", no_dist=True)
    for key, theirs in {"a": back["a"], **{f"b.{k}": v for k, v in back["b"].items()},
                        "list.0": back["list"][0]}.items(): same(found[key], theirs)
    with pytest.raises(InputError, match="give its folder"): read_distributed(tmp_path / "x" / "__0_0.distcp")


class Touches:
    def __init__(self, path): self.path = path
    def __reduce__(self): return Path.touch, (self.path,)


@pytest.mark.parametrize("what, why", [
    (lambda path: Touches(path), "no Metadata"),
    (lambda path: {"state_dict_metadata": Touches(path)}, "no Metadata"),
    (lambda path: dcp.metadata.Metadata({"x": Touches(path)}), None),
    (lambda path: dcp.metadata.Metadata(Touches(path)), "name no tensors"),
    (lambda path: dcp.metadata.Metadata(
        {"x": dcp.metadata.TensorStorageMetadata(Touches(path), (2, -1), [])}),
     "no tuple of whole numbers"),
    (lambda path: dcp.metadata.Metadata({}, storage_data={Touches(path): 1}), "no MetadataIndex")])
def test_metadata_are_not_executed(what, why, tmp_path):
    marker = tmp_path / "marker"
    (tmp_path / ".metadata").write_bytes(pickle.dumps(what(marker)))
    if why is None: assert read_distributed(tmp_path).tensors == []
    else:
        with pytest.raises(InputError, match=why): read_distributed(tmp_path)
    assert not marker.exists()


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=5),
       st.one_of(st.just(1.), st.floats(0, 1)))
@settings(max_examples=200, deadline=None)
def test_damaged_metadata_end_in_sentences(saved, tmp_path_factory, flips, length):
    folder = tmp_path_factory.getbasetemp() / "damaged"
    if not folder.exists(): copied(saved, folder)
    data = bytearray((saved / ".metadata").read_bytes())
    for share, byte in flips: data[int(share * (len(data) - 1))] = byte
    (folder / ".metadata").write_bytes(data[:int(length * len(data))])
    try: tensors = read_distributed(folder).tensors
    except InputError as err:
        assert "\n" not in str(err)
        return
    for tensor in tensors:
        try: assert tensor.array().shape == tensor.shape
        except InputError: pass


small = st.integers(0, 4)


@given(st.lists(st.tuples(small, small, small, small), max_size=7))
@settings(max_examples=200, deadline=None)
def test_overlaps_are_seen(boxes):
    "As by painting every number."
    painted = np.zeros((8, 8), int)
    for top, left, height, width in boxes:
        painted[top:top + height, left:left + width] += 1
    twice = bool((painted > 1).any())
    assert module._overlap([StoredChunk((t, left), (h, w), "f", 0, 0) for t, left, h, w in boxes]) == twice


def described(shape: tuple, chunks: list[tuple], file: str, length: int, dtype=torch.float32) -> bytes:
    "Metadata of one table, of chunks of (offsets, sizes) that all lie at the file's start."
    meta = dcp.metadata
    table = meta.TensorStorageMetadata(meta.TensorProperties(dtype), torch.Size(shape), [
        meta.ChunkStorageMetadata(torch.Size(o), torch.Size(s)) for o, s in chunks])
    places = {meta.MetadataIndex("t", o): dcp.filesystem._StorageInfo(file, 0, length) for o, _ in chunks}
    return pickle.dumps(meta.Metadata({"t": table}, storage_data=places))


@pytest.mark.parametrize("shape, chunks, file, why", [
    ((4, 2), [((0, 0), (4, 2)), ((2, 0), (2, 2))], "x.distcp", "do not fit together"),
    ((4, 2), [((0, 0), (3, 2))], "x.distcp", "do not fit together"),
    ((4, 2), [((0, 0), (5, 2))], "x.distcp", "outside of it"),
    ((4, 2), [((0,), (4,))], "x.distcp", "outside"),
    ((4, 2), [((0, 0), (4, 2))], "../x.distcp", "which is not in"),
    ((4, 2), [((0, 0), (4, 2))], "y.distcp", "which is not in"),
    ((1, 2**40), [((0, 0), (1, 2**40))], "x.distcp", "a row of t"),
    ((2**40, 2), [((0, 0), (2**40, 2))], "x.distcp", "another tensor"),
    ((4, 2), [], "x.distcp", "do not fit together")])
def test_metadata_that_lie(shape, chunks, file, why, tmp_path):
    torch.save(torch.ones(4, 2), tmp_path / "x.distcp")
    length = (tmp_path / "x.distcp").stat().st_size
    (tmp_path / ".metadata").write_bytes(described(shape, chunks, file, length))
    tensor, = read_distributed(tmp_path).tensors
    with pytest.raises(InputError, match=why): next(iter(tensor.rows()))
    assert tensor.num_bytes == math.prod(shape) * 4
