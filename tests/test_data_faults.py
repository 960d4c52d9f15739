"Bad tables and bad folders: one sentence each, and nothing half-written."
import gzip
import os
import resource
import shutil
import subprocess
import sys

import polars as pl
import pytest

from collapse_nb.data.cards import Card
from collapse_nb.data.encode import encode, open_encoded
from collapse_nb.records import InputError

CARD = Card(name="clicks", label="y", fields=["a", "b"])
ROWS = [f"{i % 2},{i % 3},x{i % 5}" for i in range(40)]
HEADER = "y,a,b"


def table(*rows: str) -> bytes:
    return ("\n".join(rows) + "\n").encode()


FAULTS = {
    "missing column": (CARD, table("y,a,bb", *ROWS), ["unknown column", "'b'", "did you mean 'bb'?"]),
    "label not 0/1": (CARD, table(HEADER, *ROWS, "3,1,x", "2,1,x"), ["must be 0 or 1", "2 of 42 rows", "the first is 3"]),
    "label missing": (CARD, table(HEADER, *ROWS, ",1,x"), ["must be 0 or 1", "1 of 41 rows", "missing"]),
    "label is text": (CARD, table(HEADER, *ROWS, "yes,1,x"), ["must be 0 or 1", "1 of 41 rows", "'yes'"]),
    "constant label": (CARD, table(HEADER, *["1,2,x"] * 9), ["is 1 in all 9 rows"]),
    "empty file": (CARD, b"", ["is empty"]),
    "header alone": (CARD, table(HEADER), ["no rows"]),
    "where keeps nothing": (CARD.model_copy(update={"where": "a > 99"}), table(HEADER, *ROWS), ["no rows"]),
    "too few columns": (CARD, table(HEADER, *ROWS[:7], "1,2", *ROWS), ["line 9", "too few columns", "2 where 3"]),
    "too many columns": (CARD, table(HEADER, *ROWS[:7], "1,2,3,4", *ROWS), ["line 9", "too many columns", "4 where 3"]),
    "too few after quotes": (CARD, table(HEADER, '1,"p\nq, r",x', *ROWS[:3], "1,2"), ["line 7", "too few columns"]),
    "quote never closed": (CARD, table(HEADER, *ROWS, '1,"2,x', *ROWS), ["quote", "never closed"]),
    "field without values": (CARD, table(HEADER, *[r.rsplit(",", 1)[0] + "," for r in ROWS]), ["field 'b' has no values"]),
    "truncated gzip": (CARD, gzip.compress(table(HEADER, *ROWS))[:-12], ["gzip", "cut off or damaged"]),
    "damaged gzip": (CARD, gzip.compress(table(HEADER, *ROWS))[:20] + b"\0" * 40, ["gzip", "cut off or damaged"]),
    "not UTF-8": (CARD, table(HEADER, *ROWS) + b"1,\xff\xfe,x\n", ["UTF-8"]),
    "not Parquet": (CARD.model_copy(update={"format": "parquet"}), table(HEADER, *ROWS), ["not a whole Parquet file"]),
    "expression on text": (CARD.model_copy(update={"label": "b > 3"}), table(HEADER, *ROWS), ["cannot be computed"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_table(fault, tmp_path):
    card, content, said = FAULTS[fault]
    (tmp_path / "source").write_bytes(content)
    with pytest.raises(InputError) as err: encode(card, tmp_path / "source", tmp_path / "out")
    for words in said: assert words in str(err.value)
    assert "\n" not in str(err.value)
    assert os.listdir(tmp_path) == ["source"]


def test_source_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="there is no file"): encode(CARD, tmp_path / "no.csv", tmp_path / "out")
    assert os.listdir(tmp_path) == []


@pytest.fixture
def encoded(tmp_path):
    (tmp_path / "t.csv").write_bytes(table(HEADER, *ROWS))
    encode(CARD, tmp_path / "t.csv", tmp_path / "out")
    return tmp_path


@pytest.mark.parametrize("name", ["x.npy", "y.npy", "vocabulary.parquet"])
@pytest.mark.parametrize("harm", ["change", "cut", "remove"])
def test_checksum(encoded, name, harm):
    file = encoded / "out" / name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    if harm == "change": file.write_bytes(content)
    elif harm == "cut": file.write_bytes(content[:-5])
    else: file.unlink()
    with pytest.raises(InputError, match=name): open_encoded(encoded / "out")


def test_folder_that_is_no_encoded_folder(encoded):
    with pytest.raises(InputError, match="not an encoded folder"): open_encoded(encoded)
    (encoded / "out" / "schema.json").write_text("{")
    with pytest.raises(InputError, match="damaged"): open_encoded(encoded / "out")


def test_encoding_again(encoded):
    before = (encoded / "out" / "x.npy").stat().st_mtime_ns
    assert encode(CARD, encoded / "t.csv", encoded / "out").schema.names == ("a", "b")
    assert (encoded / "out" / "x.npy").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="is there already"):
        encode(CARD.model_copy(update={"min_count": 2}), encoded / "t.csv", encoded / "out")
    with open(encoded / "t.csv", "a") as file: file.write("1,2,3\n")
    with pytest.raises(InputError, match="is there already"): encode(CARD, encoded / "t.csv", encoded / "out")
    with pytest.raises(InputError, match="is there already"): encode(CARD, encoded / "t.csv", encoded)


def encode_under_limit(source: str, out: str, limit: int) -> None:
    "In a process of its own: files may not grow beyond `limit` bytes, which is what a full disk looks like to a writer."
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try: encode(CARD.model_copy(update={"format": "parquet"}), source, out)
    except InputError as err: sys.exit(f"InputError: {err}")


@pytest.mark.parametrize("limit", [1, 20_000, 100_000])
def test_file_limit(tmp_path, limit):
    source = tmp_path / "t.parquet"
    pl.DataFrame({"y": [0, 1] * 4000, "a": [*range(4000)] * 2, "b": [*range(2000)] * 4}).write_parquet(source)
    call = f"import test_data_faults as t; t.encode_under_limit({str(source)!r}, {str(tmp_path / 'out')!r}, {limit})"
    done = subprocess.run([sys.executable, "-c", call], cwd=os.path.dirname(__file__), capture_output=True, text=True)
    assert done.returncode == 1 and "is full" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert os.listdir(tmp_path) == ["t.parquet"]


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs privileges")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_full_disk(tmp_path, small_disk):
    (tmp_path / "t.csv").write_bytes(table(HEADER, *[f"{i % 2},{i},{i}" for i in range(20_000)]))
    with pytest.raises(InputError, match="is full"): encode(CARD, tmp_path / "t.csv", small_disk / "out")
    assert os.listdir(small_disk) == []


def test_interrupt(tmp_path, monkeypatch):
    def interrupted(*_args, **_known): raise KeyboardInterrupt
    monkeypatch.setattr("collapse_nb.data.encode.write_encoded", interrupted)
    (tmp_path / "t.csv").write_bytes(table(HEADER, *ROWS))
    with pytest.raises(KeyboardInterrupt): encode(CARD, tmp_path / "t.csv", tmp_path / "out")
    assert os.listdir(tmp_path) == ["t.csv"]
