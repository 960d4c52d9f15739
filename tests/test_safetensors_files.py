"Safetensors files: what the library writes is read as it reads it; what lies is refused, and bounded."
import json
import struct

import numpy as np
import pytest
import torch
from damage import damaged, sound
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from safetensors.torch import load_file, save_file, save_model

from collapse_nb.checkpoints import tensors
from collapse_nb.checkpoints.opened import open_checkpoint
from collapse_nb.checkpoints.safetensors_files import read_safetensors
from collapse_nb.records import InputError

TYPES = ("float64 float32 float16 bfloat16 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz int64 "
         "int32 int16 int8 uint8 bool").split()


@pytest.mark.parametrize("name", TYPES)
def test_every_type_is_what_the_library_reads(name, tmp_path):
    saved = torch.randn(37, 5).to(getattr(torch, name))
    save_file({"t": saved}, tmp_path / "a")
    (t,) = read_safetensors(tmp_path / "a").tensors
    theirs = load_file(tmp_path / "a")["t"].double().numpy()
    assert t.dtype == name and t.shape == (37, 5) and t.num_bytes == saved.nbytes
    np.testing.assert_array_equal(t.array(), theirs)
    for most in (1, 2, 36, 37, 100):
        np.testing.assert_array_equal(np.concatenate(list(t.read(most))), theirs)


@pytest.mark.parametrize("name", ["F4", "F6_E2M3", "F8_E8M0", "C64", "X9"])
def test_numbers_that_cannot_be_had_are_named_and_others_read(name, tmp_path):
    entry = {"dtype": name, "shape": [4], "data_offsets": [8, 40]}
    header = {"good": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "odd": entry}
    raw = json.dumps(header).encode()
    (tmp_path / "a").write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(40))
    good, odd = read_safetensors(tmp_path / "a").tensors
    assert good.array().tolist() == [0, 0] and "convert it to float32" in odd.problem


def test_tied_names_are_aliases_and_slices_are_not(tmp_path):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.z, self.a = torch.nn.Embedding(6, 2), torch.nn.Embedding(6, 2)
            self.a.weight = self.z.weight
    save_model(Model(), tmp_path / "a")
    found = {t.key: t for t in read_safetensors(tmp_path / "a").tensors}
    assert found["z.weight"].storage == found["a.weight"].storage
    assert "another name" in found["z.weight"].note
    both = torch.randn(6, 2)
    save_file({"a": both[:3], "b": both[3:], "same": both[:3].clone()}, tmp_path / "b")
    assert len({t.storage for t in read_safetensors(tmp_path / "b").tensors}) == 3


def test_a_missing_or_damaged_shard_takes_its_own_tensors_alone(tmp_path):
    names = [f"m-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    for i in (0, 1): save_file({f"t{i}": torch.ones(2, 2)}, tmp_path / names[i])
    (tmp_path / names[1]).write_bytes(b"short")
    index = {"metadata": {}, "weight_map": {f"t{i}": names[i] for i in range(3)} | {"gone": names[0]}}
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
    for target in (tmp_path, tmp_path / "m.safetensors.index.json"):
        found = {t.key: t for t in open_checkpoint(target).tensors}
        assert found["t0"].array().tolist() == [[1, 1], [1, 1]]
        assert "ends early" in found["t1"].problem and "missing beside the index" in found["t2"].problem
        assert "does not have it" in found["gone"].problem


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/hostname", "..", "", "a/../../b", "a\0b"])
def test_an_index_opens_nothing_outside_of_its_folder(name, tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    save_file({"t": torch.ones(2)}, tmp_path / "outside.safetensors")
    (inside / "m.safetensors.index.json").write_text(json.dumps({"weight_map": {"t": name}}))
    (t,) = read_safetensors(inside).tensors
    assert "is not opened" in t.problem


def test_rows_are_read_by_blocks(tmp_path, monkeypatch):
    "A file of 16 MiB, in blocks of 64 KiB, takes less than 1 MiB."
    save_file({"t": torch.zeros(2**17, 64, dtype=torch.bfloat16)}, tmp_path / "a")
    monkeypatch.setattr(tensors, "BLOCK_BYTES", 2**16)
    assert sound(read_safetensors, tmp_path / "a", most_bytes=2**20).tensors[0].shape == (2**17, 64)


def test_a_file_cut_after_it_was_opened(tmp_path):
    save_file({"t": torch.zeros(100, 4)}, tmp_path / "a")
    (t,) = read_safetensors(tmp_path / "a").tensors
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:-9])
    with pytest.raises(InputError, match="9 bytes short"): list(t.rows())


RAW = save({"item": np.arange(12, dtype="f4").reshape(4, 3), "half": np.ones((2, 2), "f2"),
            "ids": np.arange(5)}, {"other": "item"})

@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(damaged(RAW))
def test_damaged_files(tmp_path_factory, raw):
    file = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    file.write_bytes(raw)
    sound(read_safetensors, file)


SIZES = st.one_of(st.integers(-2, 9), st.sampled_from([2**31, 2**62, 2**70, 1.5, None, True, "3"]))
ENTRY = st.one_of(st.none(), st.integers(), st.text(max_size=3), st.fixed_dictionaries({
    "dtype": st.sampled_from(["F32", "BF16", "F8_E4M3", "F4", "BOOL", "", 3, None]),
    "shape": st.one_of(st.lists(SIZES, max_size=4), st.none(), st.just([1] * 100)),
    "data_offsets": st.lists(SIZES, min_size=1, max_size=3)}))

@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(["a", "b", "c", "__metadata__", ""]), ENTRY), st.integers(0, 64))
def test_headers_that_lie(tmp_path_factory, header, size):
    file, raw = tmp_path_factory.getbasetemp() / "lying.safetensors", json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(size))
    found = sound(read_safetensors, file)
    assert found is not None and {t.key for t in found.tensors} >= set(header) - {"__metadata__"}


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 4)), max_size=6))
def test_bytes_that_two_tensors_claim(tmp_path_factory, places):
    "Beside a slow loop: a tensor is refused just where another one shares bytes with it."
    header = {f"t{i}": {"dtype": "U8", "shape": [size], "data_offsets": [start, start + size]}
              for i, (start, size) in enumerate(places)}
    file, raw = tmp_path_factory.getbasetemp() / "claimed.safetensors", json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(16))
    bytes_of = [set(range(start, start + size)) for start, size in places]
    for i, t in enumerate(read_safetensors(file).tensors):
        shared = any(bytes_of[i] & bytes_of[j] for j in range(len(places)) if j != i)
        assert bool(t.problem) == shared, (places, i)
