"Any checkpoint is known by its content; what is none, or cannot be read, is said in one sentence."
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from damage import is_sentence, sound
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from collapse_nb.checkpoints.opened import FOREIGN, READERS, file_format, open_checkpoint
from collapse_nb.records import InputError

TABLE = np.arange(6, dtype="f4").reshape(3, 2)


def hdf5(file: Path) -> None:
    with h5py.File(file, "w") as f: f["t"] = TABLE

def keras(file: Path) -> None:
    hdf5(file.with_name("inner"))
    with zipfile.ZipFile(file, "w") as z: z.write(file.with_name("inner"), "model.weights.h5")
    file.with_name("inner").unlink()

def through(save):
    "A writer that takes an open file, so that no suffix is added."
    def write(file: Path) -> None:
        with open(file, "wb") as stream: save(stream)
    return write

def binary(file: Path) -> None:
    rows = [f"w{i} ".encode() + row.tobytes() + b"\n" for i, row in enumerate(TABLE)]
    file.write_bytes(b"3 2\n" + b"".join(rows))

def libffm(file: Path) -> None:
    both = np.stack([TABLE, np.ones_like(TABLE)], -1)
    file.write_bytes(struct.pack("<iiib", 3, 1, 2, 1) + both.tobytes())

def old_torch(file: Path) -> None: torch.save({"t": torch.from_numpy(TABLE)}, file,
                                              _use_new_zipfile_serialization=False)

WRITERS = {"safetensors": lambda file: save_file({"t": TABLE}, file), "Keras archive": keras, "HDF5": hdf5,
           "numpy archive": through(lambda s: np.savez(s, t=TABLE)),
           "numpy array": through(lambda s: np.save(s, TABLE)),
           "Parquet": lambda file: pd.DataFrame(TABLE, columns=["a", "b"]).to_parquet(file),
           "word vectors": lambda file: file.write_text("3 2\na 0 1\nb 2 3\nc 4 5\n"),
           "word vectors ": binary,
           "libffm model": libffm, "torch": lambda file: torch.save({"t": torch.from_numpy(TABLE)}, file),
           "torch ": old_torch}


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("suffix", ["", ".h5", ".pth", ".bin", ".json"])
def test_content_counts_and_no_suffix(form, suffix, tmp_path):
    file = tmp_path / f"model{suffix}"
    WRITERS[form](file)
    assert file_format(file) == form.strip() and form.strip() in READERS
    for target in (file, str(file), tmp_path):
        np.testing.assert_array_equal(open_checkpoint(target).tensors[0].array(), TABLE)


@pytest.mark.parametrize("target", [TABLE, torch.from_numpy(TABLE), pd.DataFrame(TABLE), {"t": TABLE}])
def test_what_is_in_memory(target):
    (t,) = open_checkpoint(target).tensors
    np.testing.assert_array_equal(t.array(), TABLE)

def test_live_models_and_checkpoints_themselves():
    model = torch.nn.Sequential(torch.nn.Embedding(3, 2), torch.nn.Linear(2, 1))
    found = open_checkpoint(model)
    assert [t.embedding for t in found.tensors if t.key == "0.weight"] == [True] and found.model is model
    assert open_checkpoint(found) is found


@pytest.mark.parametrize("target", [None, 3, 2.5, [1, 2], object(), b"path"])
def test_what_is_no_model(target):
    with pytest.raises(InputError, match="was given: give a path"): open_checkpoint(target)


# files that are none

def said(target) -> str:
    with pytest.raises(InputError) as caught: open_checkpoint(target)
    assert is_sentence(str(caught.value)), caught.value
    return str(caught.value)

@pytest.mark.parametrize("magic", FOREIGN, ids=repr)
def test_what_is_known_and_not_read_is_named(magic, tmp_path):
    (tmp_path / "a").write_bytes(magic + bytes(100))
    assert FOREIGN[magic][0] in said(tmp_path / "a") or "zip archive" in said(tmp_path / "a")

@pytest.mark.parametrize("raw, sentence", [
    (b"", "is empty"), (b"user,item\n1,2\n", "pandas.read_csv"), (bytes(4) + b"TFL3", "TFLite"),
    (bytes(257) + b"ustar", "tar archive"), (b"\x00\x01\x02" * 9, "begins with bytes 00 01 02"),
    (b'{"fields": 3}', "sidecar"), ("Überschrift".encode(), "has 12 bytes"), (b"\n\n\n", "has 3 bytes")])
def test_files_that_are_no_models(raw, sentence, tmp_path):
    (tmp_path / "a").write_bytes(raw)
    assert sentence in said(tmp_path / "a")

@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_any_protocol_are_refused(protocol, tmp_path):
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"t": TABLE}, protocol))
    for target in (tmp_path / "a.pth", tmp_path): assert "is a pickle of numpy" in said(target)


MAGIC = [*FOREIGN, b"\x93NUMPY", b"PAR1", b"\x80\x04", b"PK\x03\x04"]

@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.binary(max_size=99), st.text(alphabet="01 .e-\nab", max_size=99).map(str.encode),
                 st.builds(bytes.__add__, st.sampled_from(MAGIC), st.binary(max_size=60))))
@example(b"\x01" + bytes(7) + b"{")
@example(b"1 1\n\n")
@example(b"1 1\na 1e999\n")
def test_any_bytes_are_a_model_or_one_sentence(tmp_path_factory, raw):
    file = tmp_path_factory.getbasetemp() / "any"
    file.write_bytes(raw)
    if b"\x89HDF" not in raw: sound(open_checkpoint, file)


# paths and folders

def test_paths_that_lead_nowhere(tmp_path):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    os.mkfifo(tmp_path / "pipe")
    assert "No such file" in said(tmp_path / "nowhere.pt")
    assert "cannot be opened" in said(tmp_path / "circle")
    assert "neither a file nor a folder" in said(tmp_path / "pipe")
    assert "cannot be opened" in said("a\0b") and "too long" in said("a" * 9999)
    assert "path is empty" in said("")
    assert "cannot be opened" in said("https://example.org/model.pt")

@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_without_the_right_to_read(tmp_path):
    hdf5(tmp_path / "a")
    (tmp_path / "a").chmod(0)
    assert "Permission denied" in said(tmp_path / "a")


def folder(at: Path, *names: str) -> Path:
    for name in names:
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_bytes(b"some notes")
    return at

@pytest.mark.parametrize("names, sentence", [
    ([], "folder without a model's file"), (["a.txt", "b.txt"], "it holds a.txt, b.txt"),
    (["saved_model.pb", "variables/variables.index"],
     'SavedModel, which only TensorFlow reads: load it there, and save it by model.save("model.keras")'),
    (["checkpoint", "ckpt-1.index", "ckpt-1.data-00000-of-00001"], "folder of TensorFlow checkpoints"),
    (["__0_0.distcp", "__1_0.distcp"], "no .metadata that says what is in them"),
    (["userFactors/_SUCCESS", "itemFactors/_SUCCESS"], "has no Parquet files")])
def test_folders_that_cannot_be_read(names, sentence, tmp_path):
    assert sentence in said(folder(tmp_path, *names))

def test_pieces_by_themselves_are_explained(tmp_path):
    folder(tmp_path, "ckpt-1.index", "ckpt-1.data-00000-of-00001", "__0_0.distcp")
    assert "TensorFlow checkpoint" in said(tmp_path / "ckpt-1.data-00000-of-00001")
    assert "give its folder" in said(tmp_path / "__0_0.distcp")

def test_a_folder_with_one_model_opens_it_and_with_several_lists_them(tmp_path):
    folder(tmp_path, "feature_map.json", "train.log", ".hidden", "_SUCCESS")
    save_file({"t": TABLE}, tmp_path / "b.model")
    np.testing.assert_array_equal(open_checkpoint(tmp_path).tensors[0].array(), TABLE)
    np.savez(tmp_path / "a.npz", t=TABLE)
    assert "give one of a.npz, b.model." in said(tmp_path)

def test_a_damaged_file_of_a_folder_is_not_passed_over(tmp_path):
    np.savez(tmp_path / "a.npz", t=TABLE)
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-40])
    assert "zip archive that cannot be read" in said(tmp_path)
    hdf5(tmp_path / "b.h5")
    assert "several model files" in said(tmp_path)

def test_indices_of_shards(tmp_path):
    for i in (0, 1): torch.save({f"t{i}": torch.from_numpy(TABLE)}, tmp_path / f"pytorch_model-{i}.bin")
    index = {"weight_map": {f"t{i}": f"pytorch_model-{i}.bin" for i in range(3)}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    for target in (tmp_path, tmp_path / "pytorch_model.bin.index.json"):
        found = {t.key: t for t in open_checkpoint(target).tensors}
        np.testing.assert_array_equal(found["t1"].array(), TABLE)
        assert "missing beside the index" in found["t2"].problem


@pytest.mark.parametrize("older", [False, True])
def test_what_is_there_of_a_torch_file_that_is_cut_short(tmp_path, older):
    "Its first table, whole; of the second it is said that it breaks off."
    whole, file = tmp_path / "whole.pt", tmp_path / "cut.pt"
    tables = {name: torch.randn(2000, 16) for name in ("user", "item")}
    torch.save(tables, whole, _use_new_zipfile_serialization=not older)
    file.write_bytes(whole.read_bytes()[:whole.stat().st_size * 7 // 10])
    user, item = sorted(open_checkpoint(file).tensors, key=lambda tensor: bool(tensor.problem))
    assert not user.problem and item.problem
    np.testing.assert_array_equal(user.array(), tables[user.key].numpy())


def test_a_piece_of_a_distributed_checkpoint_is_not_a_model(tmp_path):
    torch.save(torch.ones(4, 2), tmp_path / "__0_0.distcp") # torch itself reads it
    with pytest.raises(InputError, match=r"one piece of a torch\.distributed\.checkpoint"):
        open_checkpoint(tmp_path / "__0_0.distcp")
