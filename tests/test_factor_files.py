"numpy, Parquet, Spark ALS, word vectors, libffm and pickles: read by rows, refused in a sentence."
import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from damage import damaged, sound
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from collapse_nb.checkpoints import tensors
from collapse_nb.checkpoints.factors import (
    libffm_sizes,
    pickled_names,
    read_libffm,
    read_npy,
    read_npz,
    read_parquet,
    read_spark_als,
    read_word2vec,
    refused_pickle,
)
from collapse_nb.records import InputError

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(37, 5)).astype("f4")
MANY = settings(max_examples=200, deadline=None, derandomize=True,
                suppress_health_check=[HealthCheck.too_slow])


def blocks_are_the_whole(t, table: np.ndarray) -> None:
    assert t.shape == table.shape and not t.problem
    np.testing.assert_array_equal(t.array(), table)
    for most in (1, 2, 36, 37, 1000):
        np.testing.assert_array_equal(np.concatenate(list(t.read(most))), table)


# numpy

@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", "<f2", "<i4", ">i8", "u1", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(37, 5), (37,), (37, 2, 3), (0, 4), (37, 1)])
def test_numpy_of_every_type_order_and_shape(kind, order, shape, tmp_path):
    table = np.asarray(RNG.normal(size=shape).astype(kind), order=order)
    np.save(tmp_path / "a.npy", table)
    np.savez(tmp_path / "a.npz", t=table)
    np.savez_compressed(tmp_path / "b.npz", t=table)
    for found in (read_npy(tmp_path / "a.npy"), read_npz(tmp_path / "a.npz"), read_npz(tmp_path / "b.npz")):
        (t,) = found.tensors
        assert t.dtype == np.dtype(kind).name and t.num_bytes == table.nbytes
        if table.size: blocks_are_the_whole(t, table)
        else: assert t.array().shape == shape


OBJECTS = [np.array([{}, None]), np.array(None), np.zeros(3, [("a", "f4"), ("b", "O")])]

@pytest.mark.parametrize("odd", OBJECTS)
def test_arrays_of_objects_are_not_opened(odd, tmp_path):
    np.savez(tmp_path / "a.npz", odd=odd, good=TABLE)
    found = {t.key: t for t in read_npz(tmp_path / "a.npz").tensors}
    assert "a pickle can run any program" in found["odd"].problem
    blocks_are_the_whole(found["good"], TABLE)
    np.save(tmp_path / "a.npy", odd, allow_pickle=True)
    with pytest.raises(InputError, match="a pickle can run any program"): read_npy(tmp_path / "a.npy")


def npy(descr: str, shape: tuple, data: bytes = b"", length: int | None = None, fortran=False) -> bytes:
    "An .npy file by hand."
    head = repr({"descr": descr, "fortran_order": fortran, "shape": shape}).encode() + b"\n"
    length = len(head) if length is None else length
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", length) + head + data

LYING = [npy("<f4", (2**40, 8)), npy("<f4", (2**62, 2**62)), npy("<f4", (1, 2**40)), npy("<f4", (-1,)),
         npy("<c8", (2,), bytes(16)), npy("<f4", (3,), bytes(11)), npy("<U4", (1,), bytes(16)),
         npy("<f4", (2, 2**20), bytes(2**23), fortran=True)]

@pytest.mark.parametrize("raw", LYING, ids=range(len(LYING)))
def test_headers_of_numpy_that_lie(raw, tmp_path):
    (tmp_path / "a.npy").write_bytes(raw)
    assert sound(read_npy, tmp_path / "a.npy").tensors[0].problem
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("odd.npy", raw)
        z.writestr("good.npy", npy("<f4", (2,), bytes(8)))
    found = {t.key: t for t in sound(read_npz, tmp_path / "a.npz").tensors}
    assert not found["good"].problem and ("odd" not in found or found["odd"].problem or b"True" in raw)


BROKEN = [npy("<f4", (2,), length=60_000), b"\x93NUMPY\x03\x00", b"\x93NUMPY", npy("O(", (2,)),
          npy("<f4", "x"), b"\x93NUMPY\x02\x00" + b"\xff" * 40]

@pytest.mark.parametrize("raw", BROKEN, ids=range(len(BROKEN)))
def test_broken_headers_of_numpy(raw, tmp_path):
    (tmp_path / "a.npy").write_bytes(raw)
    with pytest.raises(InputError): read_npy(tmp_path / "a.npy")


def test_packed_arrays_are_streamed(tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "BLOCK_BYTES", 2**16)
    np.savez_compressed(tmp_path / "a.npz", t=np.zeros((2**16, 64), "f4"))
    sound(read_npz, tmp_path / "a.npz", most_bytes=2**20)


def archive(**packing) -> bytes:
    with zipfile.ZipFile(stream := io.BytesIO(), "w", **packing) as z:
        z.writestr("user_factors.npy", npy("<f4", TABLE.shape, TABLE.tobytes()))
        z.writestr("factors.npy", npy("<i8", (), struct.pack("<q", 5)))
    return stream.getvalue()

def test_one_damaged_array_leaves_the_others(tmp_path):
    raw = archive()
    at = raw.index(TABLE.tobytes()) + 9
    (tmp_path / "a.npz").write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1:])
    found = read_npz(tmp_path / "a.npz")
    assert found.values == {"factors": 5} and "Bad CRC-32" in found.tensors[0].problem

@MANY
@given(st.one_of(damaged(archive()), damaged(archive(compression=zipfile.ZIP_DEFLATED))))
def test_damaged_archives(tmp_path_factory, raw):
    file = tmp_path_factory.getbasetemp() / "damaged.npz"
    file.write_bytes(raw)
    sound(read_npz, file)

@MANY
@given(damaged(npy("<f4", (37, 5), TABLE.tobytes())))
def test_damaged_arrays(tmp_path_factory, raw):
    file = tmp_path_factory.getbasetemp() / "damaged.npy"
    file.write_bytes(raw)
    sound(read_npy, file)


# Parquet and Spark

LISTS = [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 5),
         pa.list_(pa.float16())]

@pytest.mark.parametrize("kind", LISTS, ids=str)
def test_lists_of_parquet(kind, tmp_path):
    rows = TABLE.astype(kind.value_type.to_pandas_dtype())
    table = pa.table({"id": pa.array(range(37), pa.int32()), "v": pa.array(rows.tolist(), kind)})
    parquet.write_table(table, tmp_path / "a", row_group_size=10)
    found = {t.key: t for t in read_parquet(tmp_path / "a").tensors}
    blocks_are_the_whole(found["v"], rows)
    blocks_are_the_whole(found["id"], np.arange(37))


@pytest.mark.parametrize("rows, sentence", [
    ([[1., 2.], [3.]], "different lengths"), ([[1., 2.], None], "different lengths"),
    ([[1., 2., 3.], [3.]], "not a list of 2"), ([[], [1., 2., 3.]], "not a list of 2"),
    ([[1., None]], "empty cells")])
def test_ragged_lists_are_refused(rows, sentence, tmp_path):
    parquet.write_table(pa.table({"v": pa.array(rows, pa.list_(pa.float32()))}), tmp_path / "a")
    with pytest.raises(InputError, match=sentence): read_parquet(tmp_path / "a").tensors[0].array()


def test_columns_of_floats_are_one_table(tmp_path):
    columns = {"name": ["x"] * 37, "id": range(37)} | {f"f{i}": TABLE[:, i] for i in range(5)}
    parquet.write_table(pa.table(columns), tmp_path / "items.parquet")
    found = read_parquet(tmp_path / "items.parquet")
    blocks_are_the_whole(found.tensors[0], TABLE)
    assert [t.key for t in found.tensors] == ["items", "id"] and "name" in found.notes[0]


def als(folder: Path, ids: np.ndarray, metadata: str) -> Path:
    for name in ("userFactors", "itemFactors"):
        (folder / name).mkdir(parents=True)
        for part, of_part in enumerate(np.array_split(ids, 4)):
            table = pa.table({"id": pa.array(of_part, pa.int32()),
                              "features": pa.array(TABLE[of_part].tolist(), pa.list_(pa.float32()))})
            parquet.write_table(table, folder / name / f"part-0000{part}-x-c000.snappy.parquet")
        (folder / name / "_SUCCESS").touch()
        (folder / name / "._SUCCESS.crc").write_bytes(b"crc")
    (folder / "metadata").mkdir()
    (folder / "metadata" / "part-00000").write_text(metadata)
    return folder

def test_a_part_that_is_missing_is_missed(tmp_path):
    folder = als(tmp_path / "a", np.array([4, 2, 9]), "{}")
    part = next((folder / "userFactors").glob("part-*"))
    part.with_name(f".{part.name}.crc").write_bytes(b"crc")
    read_spark_als(folder)
    part.rename(folder / "elsewhere")
    with pytest.raises(InputError, match=part.name): read_spark_als(folder)


def test_spark_als(tmp_path):
    ids = RNG.permutation(37)[:20]
    about = {"rank": 5, "defaultParamMap": {"userCol": "user"}, "paramMap": {"itemCol": "book"}}
    found = read_spark_als(als(tmp_path / "a", ids, json.dumps(about)))
    by = {t.key: t for t in found.tensors}
    assert list(by) == ["userFactors", "userFactors.id", "itemFactors", "itemFactors.id"]
    assert (by["userFactors"].label, by["itemFactors"].label, found.values) == ("user", "book", {"rank": 5})
    blocks_are_the_whole(by["itemFactors"], TABLE[ids])
    blocks_are_the_whole(by["itemFactors.id"], ids)
    odd = read_spark_als(als(tmp_path / "b", ids, "{"))
    assert len(odd.tensors) == 4 and "metadata" in odd.notes[0]
    (tmp_path / "b" / "userFactors" / "part-00001-x-c000.snappy.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(InputError, match="no Parquet file that can be read"): read_spark_als(tmp_path / "b")


PARQUET = io.BytesIO()
parquet.write_table(pa.table({"id": range(37), "v": TABLE.tolist()}), PARQUET)

@MANY
@given(damaged(PARQUET.getvalue()))
def test_damaged_parquet(tmp_path_factory, raw):
    file = tmp_path_factory.getbasetemp() / "damaged.parquet"
    file.write_bytes(raw)
    sound(read_parquet, file)


# word vectors

def text(words: list[str], table: np.ndarray, head: bool, end: str) -> bytes:
    lines = [f"{w} {' '.join(map(repr, row.tolist()))}{end}" for w, row in zip(words, table, strict=True)]
    return "".join([f"{len(words)} {table.shape[1]}\n"] * head + lines).encode()

def binary(words: list[str], table: np.ndarray, end: bytes) -> bytes:
    rows = b"".join(w.encode() + b" " + row.tobytes() + end for w, row in zip(words, table, strict=True))
    return f"{len(words)} {table.shape[1]}\n".encode() + rows

WORDS = ["</s>", "naïve", "3", "日本", "1.5"] + [f"word{i}" for i in range(32)]
FORMS = {"word2vec": text(WORDS, TABLE, True, "\n"), "blank at the end": text(WORDS, TABLE, True, " \n"),
         "GloVe": text(WORDS, TABLE, False, "\n"), "no last end": text(WORDS, TABLE, True, "\n")[:-1],
         "binary": binary(WORDS, TABLE, b"\n"), "gensim's": binary(WORDS, TABLE, b""),
         "words with blanks": text([w + " x" for w in WORDS], TABLE, True, "\n")}

@pytest.mark.parametrize("form", FORMS)
def test_word_vectors(form, tmp_path):
    (tmp_path / "a").write_bytes(FORMS[form])
    (t,) = read_word2vec(tmp_path / "a").tensors
    blocks_are_the_whole(t, TABLE)

@pytest.mark.parametrize("form", ["word2vec", "binary", "gensim's"])
def test_word_vectors_cut_short(form, tmp_path):
    (tmp_path / "a").write_bytes(FORMS[form][:-40])
    with pytest.raises(InputError, match=r"short|early|none|no file of word vectors"):
        read_word2vec(tmp_path / "a").tensors[0].array()

@MANY
@given(st.one_of(*(damaged(raw) for raw in FORMS.values())))
def test_damaged_word_vectors(tmp_path_factory, raw):
    file = tmp_path_factory.getbasetemp() / "damaged.vec"
    file.write_bytes(raw)
    sound(read_word2vec, file)


# libffm

def ffm(n: int, m: int, k: int, run: int) -> tuple[bytes, np.ndarray, np.ndarray]:
    "A model as libffm's loops write it, number by number; its weights and sums (n, m, k)."
    weights, sums = RNG.uniform(-1, .9, (n, m, k)).astype("f4"), (1 + RNG.random((n, m, k))).astype("f4")
    out = [struct.pack("<iiib", n, m, k, 1)]
    for j in range(n):
        for f in range(m):
            for first in range(0, k, run):
                slots = range(first, first + run)
                out += [struct.pack("<f", weights[j, f, d] if d < k else 0) for d in slots]
                out += [struct.pack("<f", sums[j, f, d] if d < k else 1) for d in slots]
    return b"".join(out), weights, sums

@pytest.mark.parametrize("run", [1, 4])
@pytest.mark.parametrize("k", [1, 3, 4, 8, 10])
def test_libffm_with_and_without_sse(run, k, tmp_path):
    raw, weights, sums = ffm(37, 3, k, run)
    (tmp_path / "a").write_bytes(raw)
    assert libffm_sizes(tmp_path / "a") == (37, 3, k, run)
    found = {t.key: t for t in read_libffm(tmp_path / "a").tensors}
    for j in range(3):
        blocks_are_the_whole(found[f"W.field_{j}"], weights[:, j])
        blocks_are_the_whole(found[f"optimizer.W.field_{j}.sum"], sums[:, j])

@MANY
@given(damaged(ffm(5, 2, 4, 4)[0]))
def test_damaged_libffm(tmp_path_factory, raw):
    file = tmp_path_factory.getbasetemp() / "damaged.ffm"
    file.write_bytes(raw)
    sound(read_libffm, file)


# pickles

@pytest.mark.parametrize("module, package, line", [
    ("gensim.models.word2vec", "gensim", "save_word2vec_format"),
    ("surprise.prediction_algorithms", "surprise", "algo.pu"),
    ("lightfm.lightfm", "LightFM", "user_embeddings"), ("joblib.numpy_pickle", "joblib", "numpy.savez"),
    ("sklearn.decomposition._nmf", "scikit-learn", "components_")])
@pytest.mark.parametrize("protocol", range(6))
def test_pickles_are_refused_by_package(module, package, line, protocol, tmp_path):
    "The pickle has the class of a package that need not be installed, as pickle itself writes names."
    import sys
    import types
    made = types.ModuleType(module)
    made.Model = type("Model", (), {"__module__": module})
    parents = [".".join(module.split(".")[:i + 1]) for i in range(module.count(".") + 1)]
    kept = {name: sys.modules.get(name) for name in parents}
    sys.modules |= dict.fromkeys(parents, made)
    try: raw = pickle.dumps({"model": made.Model(), "table": TABLE}, protocol)
    finally:
        for name, was in kept.items():
            if was is None: del sys.modules[name]
            else: sys.modules[name] = was
    (tmp_path / "a").write_bytes(raw)
    assert f"{module}.Model" in pickled_names(raw)
    said = str(refused_pickle(tmp_path / "a"))
    assert package in said and line in said and "can run any program" in said


class Trap:
    "Writes a file when it is unpickled."
    def __reduce__(self): return open, ("sprung", "w")

def test_nothing_in_a_pickle_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = pickle.dumps(Trap())
    (tmp_path / "a").write_bytes(raw)
    refused_pickle(tmp_path / "a")
    np.savez(tmp_path / "a.npz", t=np.array([Trap()], object))
    read_npz(tmp_path / "a.npz")
    assert not (tmp_path / "sprung").exists()
    pickle.loads(raw).close() # the trap does work
    assert (tmp_path / "sprung").exists()

@MANY
@given(st.one_of(damaged(pickle.dumps({"t": TABLE, "trap": Trap()})), st.binary(max_size=99)))
def test_damaged_pickles(raw): assert isinstance(pickled_names(raw), list)
