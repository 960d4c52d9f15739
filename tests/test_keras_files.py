"Keras and HDF5 files: layers' own names, all layouts, nothing outside of the file, no damage that spreads."
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from damage import damaged, sound
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from collapse_nb.checkpoints import keras_files, tensors
from collapse_nb.checkpoints.hdf5_worker import Window
from collapse_nb.checkpoints.keras_files import read_hdf5, read_keras
from collapse_nb.checkpoints.opened import open_checkpoint
from collapse_nb.records import InputError

h5py = pytest.importorskip("h5py", reason="no h5py: pip install -e '.[diagnose]'")

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(37, 5)).astype("f4")
PACKINGS = [{}, {"chunks": (10, 5)}, {"chunks": (7, 3), "compression": "gzip", "shuffle": True},
            {"chunks": (37, 5), "compression": "lzf", "fletcher32": True}]


def weights(**packing) -> bytes:
    with h5py.File(stream := io.BytesIO(), "w") as f:
        for path, name in (("embedding", "device"), ("embedding_1", "site"), ("dense", "dense")):
            f.create_dataset(f"layers/{path}/vars/0", data=TABLE * (1 + len(name)), **packing)
            f[f"layers/{path}/vars"].attrs["name"] = name
    return stream.getvalue()

def keras(file: Path, inner: bytes, layers: object, packing=zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(file, "w", packing) as z:
        z.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        z.writestr("config.json", json.dumps({"class_name": "Functional", "config": {"layers": layers}}))
        z.writestr("model.weights.h5", inner)
    return file

def layer(of: str, name: str, module: str = "keras.layers") -> dict:
    return {"module": module, "class_name": of, "config": {"name": name}}


@pytest.mark.parametrize("packing", PACKINGS, ids=str)
@pytest.mark.parametrize("zipped", [None, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_blocks_are_the_whole_in_every_layout(packing, zipped, tmp_path):
    file, inner = tmp_path / "m", weights(**packing)
    if zipped is None: file.write_bytes(inner)
    else: keras(file, inner, [], zipped)
    found = {t.label: t for t in open_checkpoint(file).tensors}
    for name in ("device", "site", "dense"):
        np.testing.assert_array_equal(found[name].array(), TABLE * (1 + len(name)))
    np.testing.assert_array_equal(np.concatenate(list(found["site"].read(4))), TABLE * 5)


def test_a_packed_copy_lives_as_long_as_its_tensors(tmp_path, monkeypatch):
    monkeypatch.setattr(keras_files.tempfile, "tempdir", str(tmp_path))
    (t, *_) = read_keras(keras(tmp_path / "m", weights(), [], zipfile.ZIP_DEFLATED)).tensors
    assert list(tmp_path.glob("*.h5")) and t.array().shape == (37, 5)
    del t, _
    assert not list(tmp_path.glob("*.h5"))


def test_classes_are_the_configurations_where_it_is_certain(tmp_path):
    layers = [layer("Embedding", "site"), layer("Dense", "dense"), layer("Embedding", "device", "mine")]
    file = keras(tmp_path / "m", weights(), layers)
    found = {t.label: t.embedding for t in read_keras(file).tensors}
    assert found == {"site": True, "dense": False, "device": None}
    twice = [*layers, {"config": {"layers": [layer("Dense", "site")]}}]
    file = keras(tmp_path / "m", weights(), twice)
    assert {t.label: t.embedding for t in read_keras(file).tensors}["site"] is None
    keras(tmp_path / "m", weights(), "[" * 10)
    assert all(t.embedding is None for t in read_keras(tmp_path / "m").tensors)
    with zipfile.ZipFile(tmp_path / "m", "w") as z:
        z.writestr("config.json", b"[" * 10**6)
        z.writestr("model.weights.h5", weights())
    assert "classes are not known" in read_keras(tmp_path / "m").notes[0]


def test_older_format_has_its_names_in_paths(tmp_path):
    with h5py.File(tmp_path / "m", "w") as f:
        top = f.create_group("model_weights")
        top.attrs["layer_names"], top.attrs["keras_version"] = ["sparse_emb_C1", "part/of"], "2.21.0"
        top["sparse_emb_C1/sparse_emb_C1/embeddings:0"] = TABLE
        top["part/of/kernel:0"] = TABLE
        f["optimizer_weights/Adam/m/sparse_emb_C1/embeddings:0"] = TABLE
        f.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": {"layers": [
            {"class_name": "Embedding", "config": {"name": "sparse_emb_C1"}}]}})
    found = open_checkpoint(tmp_path / "m")
    assert {(t.key, t.label, t.embedding) for t in found.tensors} == {
        ("model_weights/sparse_emb_C1/sparse_emb_C1/embeddings:0", "sparse_emb_C1", True),
        ("model_weights/part/of/kernel:0", "part/of", None),
        ("optimizer_weights/Adam/m/sparse_emb_C1/embeddings:0", "", None)}
    assert found.values == {"keras_version": "2.21.0"}


@pytest.mark.parametrize("block", [0, 512, 4096])
def test_a_user_block_in_front(block, tmp_path):
    with h5py.File(tmp_path / "m", "w", userblock_size=block) as f: f["t"] = TABLE
    np.testing.assert_array_equal(open_checkpoint(tmp_path / "m").tensors[0].array(), TABLE)


def test_numbers_of_every_type(tmp_path):
    with h5py.File(tmp_path / "m", "w") as f:
        for kind in ("<f4", ">f4", "<f8", ">f8", "<f2", ">i2", "<i8", "u1", "?"):
            f[f"{np.dtype(kind).name}{kind[0] == '>'}"] = (TABLE * 2).astype(kind)
    for t in read_hdf5(tmp_path / "m").tensors:
        np.testing.assert_array_equal(t.array(), (TABLE * 2).astype(t.dtype).astype("f8"))


def test_nothing_outside_of_the_file_is_read(tmp_path):
    (tmp_path / "secret").write_bytes(np.full(4, 7, "f4").tobytes())
    with h5py.File(tmp_path / "other", "w") as f: f["t"] = TABLE
    with h5py.File(tmp_path / "m", "w") as f:
        f["mine"] = TABLE
        f["link"] = h5py.ExternalLink(str(tmp_path / "other"), "/t")
        f["soft"] = h5py.SoftLink("/link")
        f.create_dataset("raw", (4,), "f4", external=[(str(tmp_path / "secret"), 0, 16)])
        view = h5py.VirtualLayout((37, 5), "f4")
        view[:] = h5py.VirtualSource(str(tmp_path / "other"), "t", (37, 5))
        f.create_virtual_dataset("view", view)
    found = sound(read_hdf5, tmp_path / "m")
    assert {t.key for t in found.tensors if not t.problem} == {"mine"}
    assert {t.key for t in found.tensors} == {"mine", "raw", "view"}
    assert any("link is a link to another file" in note for note in found.notes)


def test_shapes_that_lie_and_links_in_circles(tmp_path):
    with h5py.File(tmp_path / "m", "w") as f:
        f["mine"] = TABLE
        f.create_dataset("never", (10**12, 64), "f4")
        f.create_dataset("chunks", (10**12, 64), "f4", chunks=(10, 64), compression="gzip")[:10] = 1
        f["twin"] = f["mine"]
        f["a/loop"] = f["/"]
        f["nothing"] = h5py.Empty("f4")
    found = {t.key: t for t in sound(read_hdf5, tmp_path / "m").tensors}
    assert {key for key, t in found.items() if t.problem} == {"never", "chunks", "nothing"}
    assert found["twin"].storage == found["mine"].storage


def test_rows_are_read_by_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "BLOCK_BYTES", 2**16)
    with h5py.File(tmp_path / "m", "w") as f:
        f["plain"] = np.zeros((2**16, 64), "f4")
        f.create_dataset("packed", data=np.zeros((2**14, 64), "f4"), chunks=(256, 64), compression="gzip")
    sound(read_hdf5, tmp_path / "m", most_bytes=2**20)


def process(code: str):
    "A worker that does what the code says."
    def begin(*arguments) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    return begin

def test_a_library_that_dies_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "m").write_bytes(weights(chunks=(5, 5)))
    (t, *_) = read_hdf5(tmp_path / "m").tensors
    dies = process("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setattr(keras_files, "_worker", dies)
    with pytest.raises(InputError, match="stops or never ends"): read_hdf5(tmp_path / "m")
    with pytest.raises(InputError, match="ends early"): t.array()


def test_a_library_that_never_ends_is_stopped_and_a_greedy_one_bounded():
    run = ("from collapse_nb.checkpoints import hdf5_worker as w; w.PATIENCE_S = 1; w._limit()\n"
           "try: bytearray(2**31)\nexcept MemoryError: print('bounded', flush=True)\nwhile True: pass")
    start = time.monotonic()
    found = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, timeout=60,
                           env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert found.stdout == "bounded\n" and found.returncode < 0 and time.monotonic() - start < 30


def test_reading_a_part_leaves_no_process_behind(tmp_path):
    (tmp_path / "m").write_bytes(weights(chunks=(1, 5), compression="gzip"))
    (t, *_) = read_hdf5(tmp_path / "m").tensors
    began, worker = [], keras_files._worker
    keras_files._worker = lambda *a: began.append(worker(*a)) or began[-1]
    try:
        rows = t.read(1)
        next(rows)
        rows.close()
    finally: keras_files._worker = worker
    assert began[0].poll() is not None


def test_without_h5py_it_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "m").write_bytes(weights())
    monkeypatch.setattr(keras_files.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install "collapse_nb\[diagnose\]"'):
        open_checkpoint(tmp_path / "m")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, 30), st.integers(0, 30), st.lists(st.tuples(st.integers(-40, 40), st.integers(0, 2),
                                                                  st.integers(-1, 40)), max_size=6))
def test_a_window_is_the_file_of_its_bytes(tmp_path_factory, start, size, steps):
    file, raw = tmp_path_factory.getbasetemp() / "window", bytes(range(60))
    file.write_bytes(raw)
    plain = io.BytesIO(raw[start:start + size])
    with Window(str(file), start, size) as window:
        for offset, whence, count in steps:
            at = max(0, offset + (0, plain.tell(), size)[whence])
            assert window.seek(offset, whence) == plain.seek(at)
            assert window.read(count) == plain.read(count)


PACKED = io.BytesIO()
with h5py.File(PACKED, "w") as f: f.create_dataset("t", data=TABLE, chunks=(10, 5), compression="gzip")

# few: each example begins processes
@settings(max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate])
@given(damaged(PACKED.getvalue()))
def test_damaged_files(tmp_path_factory, raw):
    file = tmp_path_factory.getbasetemp() / "damaged.h5"
    file.write_bytes(raw)
    sound(read_hdf5, file)


KERAS = io.BytesIO()
with zipfile.ZipFile(KERAS, "w") as z:
    z.writestr("config.json", json.dumps(layer("Embedding", "site")))
    z.writestr("model.weights.h5", weights())

@settings(max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate])
@given(damaged(KERAS.getvalue()))
def test_damaged_archives(tmp_path_factory, raw):
    file = tmp_path_factory.getbasetemp() / "damaged.keras"
    file.write_bytes(raw)
    sound(read_keras, file)
