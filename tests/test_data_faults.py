"Bad tables and bad folders: one sentence each, and nothing half-written."
import bz2
import gzip
import io
import lzma
import os
import resource
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from collapse_nb.data.cards import Card, load_card
from collapse_nb.data.dataset import fresh_folder
from collapse_nb.data.encode import encode, open_encoded
from collapse_nb.records import InputError

CARD = Card(name="clicks", label="y", fields=["a", "b"])
ROWS = [f"{i % 2},{i % 3},x{i % 5}" for i in range(40)]
HEADER = "y,a,b"


def table(*rows: str) -> bytes:
    return ("\n".join(rows) + "\n").encode()


def archive(kind: str) -> bytes:
    "A table in an archive that is not read."
    content, file = table(HEADER, *ROWS), io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as z: z.writestr("t.csv", content)
    if kind == "tar":
        with tarfile.open(fileobj=file, mode="w") as t: t.addfile(tarfile.TarInfo("t.csv"))
    magic = {"zstd": b"\x28\xb5\x2f\xfd", "7z": b"7z\xbc\xaf\x27\x1c"}.get(kind, b"")
    return {"xz": lzma.compress(content),
            "bzip2": bz2.compress(content)}.get(kind) or file.getvalue() or magic + bytes(range(256))


def parquet(cut: bool = False, spoilt: bool = False) -> bytes:
    "A Parquet file that is cut short, or has zeros in its middle."
    pl.DataFrame({"y": [0, 1] * 999, "a": [*range(1998)],
                  "b": [*range(1998)]}).write_parquet(file := io.BytesIO())
    content = file.getvalue()
    return content[:-100] if cut else content[:200] + b"\0" * 900 + content[1100:] if spoilt else content


PARQUET = CARD.model_copy(update={"format": "parquet"})
CSV = Card(name="clicks", format="csv", label="y", fields=["a", "b"])
NO_HEADER = CARD.model_copy(update={"columns": ("y", "a", "b")})
FAULTS = {
    **{kind: (CARD, archive(kind), [f"is a {kind} archive", "unpack it"])
       for kind in ("zip", "bzip2", "zstd", "7z", "tar")},
    "xz": (CARD, archive("xz"), ["is an xz archive", "unpack it"]),
    "zip in gzip": (CARD, gzip.compress(archive("zip")), ["is a zip archive"]),
    "tar in gzip": (CARD, gzip.compress(archive("tar")), ["is a tar archive"]),
    "zip for Parquet": (PARQUET, archive("zip"), ["is a zip archive"]),
    "carriage returns": (CARD, table(HEADER, *ROWS).replace(b"\n", b"\r"),
                         ["carriage returns alone", "line feeds"]),
    "carriage returns without a header": (NO_HEADER, table(*ROWS).replace(b"\n", b"\r"),
                                          ["carriage returns alone"]),
    "carriage returns, many": (CARD, table(HEADER, *ROWS * 9000).replace(b"\n", b"\r"),
                               ["carriage returns alone"]),
    "UTF-16": (CARD, table(HEADER, *ROWS).decode().encode("utf-16"), ["UTF-16", "save it as UTF-8"]),
    "zero bytes": (CARD, table(HEADER) + bytes(99), ["no UTF-8 text"]),
    "header not UTF-8": (CARD, table("y,a,b,ä", *[r + ",1" for r in ROWS]).decode().encode("latin-1"),
                         ["the header of", "UTF-8"]),
    "Parquet for csv": (CSV, parquet(), ["is a Parquet file", 'format = "parquet"']),
    "Parquet cut short": (PARQUET, parquet(cut=True), ["not a whole Parquet file"]),
    "Parquet spoilt": (PARQUET, parquet(spoilt=True), ["not a whole Parquet file"]),
    "too few rows": (CARD, table(HEADER, *ROWS[:9]),
                     ["the 9 rows of clicks make 7 (", "0 (0 of them 1) for validation", "more rows"]),
    "a rare label": (CARD, table(HEADER, *["0,1,x"] * 99, "1,1,x"),
                     ["10 (0 of them 1) for validation", "both a 0 and a 1"]),
    "missing column": (CARD, table("y,a,bb", *ROWS), ["unknown column", "'b'", "did you mean 'bb'?"]),
    "label not 0/1": (CARD, table(HEADER, *ROWS, "3,1,x", "2,1,x"),
                      ["line 42", "must be 0 or 1", "it is '3' (column 1, y)"]),
    "label missing": (CARD, table(HEADER, *ROWS, ",1,x"),
                      ["line 42", "must be 0 or 1", "missing (column 1, y)"]),
    "label is text": (CARD, table(HEADER, *ROWS, "yes,1,x"),
                      ["line 42", "it is 'yes' (column 1, y)", "label = \"clicked = 'yes'\""]),
    "constant label": (CARD, table(HEADER, *["1,2,x"] * 9), ["is 1 in all 9 rows"]),
    "empty file": (CARD, b"", ["is empty"]),
    "header alone": (CARD, table(HEADER), ["no rows"]),
    "where keeps nothing": (CARD.model_copy(update={"where": "a > 99"}), table(HEADER, *ROWS), ["no rows"]),
    "too few columns": (CARD, table(HEADER, *ROWS[:7], "1,2", *ROWS),
                        ["line 9", "too few columns", "2 where 3"]),
    "too many columns": (CARD, table(HEADER, *ROWS[:7], "1,2,3,4", *ROWS),
                         ["line 9", "too many columns", "4 where 3"]),
    "too few after quotes": (CARD, table(HEADER, '1,"p\nq, r",x', *ROWS[:3], "1,2"),
                             ["line 7", "too few columns"]),
    "quote never closed": (CARD, table(HEADER, *ROWS, '1,"2,x', *ROWS), ["quote", "never closed"]),
    "field without values": (CARD, table(HEADER, *[r.rsplit(",", 1)[0] + "," for r in ROWS]),
                             ["field 'b' has no values"]),
    "truncated gzip": (CARD, gzip.compress(table(HEADER, *ROWS))[:-12], ["gzip", "cut off or damaged"]),
    "damaged gzip": (CARD, gzip.compress(table(HEADER, *ROWS))[:20] + b"\0" * 40,
                     ["gzip", "cut off or damaged"]),
    "not UTF-8": (CARD, table(HEADER, *ROWS) + b"1,\xff\xfe,x\n", ["line 42 is not UTF-8"]),
    "another separator": (CARD, table(HEADER, *ROWS).replace(b",", b";"),
                          ["'y;a;b', is one column", "commas"]),
    "not Parquet": (PARQUET, table(HEADER, *ROWS), ["not a whole Parquet file"]),
    "expression on text": (Card(name="clicks", label="y", fields={"c": "b > 3"}), table(HEADER, *ROWS),
                           ["the field 'c', 'b > 3'", "the column 'b' for a number", "'x0' in line 2 of"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_table(fault, tmp_path):
    card, content, messages = FAULTS[fault]
    (tmp_path / "source").write_bytes(content)
    with pytest.raises(InputError) as err: encode(card, tmp_path / "source", tmp_path / "out")
    for words in messages: assert words in str(err.value)
    assert "\n" not in str(err.value)
    assert os.listdir(tmp_path) == ["source"]


def test_source_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        encode(CARD, tmp_path / "no.csv", tmp_path / "out")
    with pytest.raises(InputError, match="holds no files"): encode(CARD, tmp_path, tmp_path / "out")
    assert os.listdir(tmp_path) == []


BAD_CARDS = {
    "a slash in the name": ('name = "a/b"\nlabel = "y"\nfields = ["a"]', "'a/b' becomes part of file names"),
    "a dot before the name": ('name = ".a"\nlabel = "y"\nfields = ["a"]', "'.a' becomes part of file names"),
    "the label as a field": ('label = "y"\nfields = ["a", "y"]',
                             "the field 'y' of card 'own' uses the column 'y'"),
    "the label's column": ('label = "late > 15"\nfields = ["a", "late"]',
                           "the field 'late' of card 'own' uses the column 'late'"),
    "the label's SQL": ('label = "late > 15"\n[fields]\na = "a"\nb = "late > 15"',
                        "the field 'b' of card 'own' uses the column 'late'"),
    "through a transform": ('label = "y"\nfields = [{ b = { column = "y", transform = "criteo_integer" } }]',
                            "the field 'b'"),
    "a field that is nothing": ('label = "y"\nfields = [{ b = {} }]', "the field 'b' must be one thing"),
    "a field with two names": ('label = "y"\nfields = [{ b = { name = "c" } }]',
                               "the field 'b' must be one thing"),
    "all columns": ("label = \"y\"\n[fields]\nb = \"COLUMNS('.*')\"", "several columns"),
    "a name that is a number": ('name = 3\nlabel = "y"\nfields = ["a"]', "name = 3"),
    "a split that is no number": ('label = "y"\nfields = ["a"]\nsplit = [nan, 0.5, 0.5]',
                                  "three positive fractions"),
}


@pytest.mark.parametrize("text,message", BAD_CARDS.values(), ids=BAD_CARDS)
def test_bad_card(tmp_path, text, message):
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(InputError) as err: load_card(tmp_path / "own.toml")
    assert message in str(err.value) and "\n" not in str(err.value)


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


@contextmanager
def begun(folder: Path) -> Iterator[subprocess.Popen]:
    "Another process, which stands still in the middle of encoding."
    (folder / "t.csv").write_bytes(table(HEADER, *ROWS * 5_000))
    call = "import test_data_faults as t; t.encode(t.CARD, 't.csv', 'out')"
    paths = os.pathsep.join([os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__)),
                             os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"PYTHONPATH": paths}
    with subprocess.Popen([sys.executable, "-c", call], cwd=folder, env=env, stderr=subprocess.PIPE,
                          text=True) as process:
        try:
            while os.listdir(folder) == ["t.csv"] and process.poll() is None: time.sleep(.001)
            process.send_signal(signal.SIGSTOP)
            assert process.poll() is None, process.communicate()[1]
            assert not (folder / "out").exists(), "it was done before it could be stopped"
            yield process
        finally:
            if process.poll() is None: process.kill()

def go_on(process: subprocess.Popen) -> str: # what it wrote to its error stream
    process.send_signal(signal.SIGCONT)
    return process.communicate()[1]


@pytest.mark.parametrize("faster", [CARD, CARD.model_copy(update={"min_count": 2})],
                         ids=["the same", "another"])
def test_two_at_once(tmp_path, faster):
    """The later one opens what the first one finished, if it is of the same card and source, and refuses it
    otherwise."""
    with begun(tmp_path) as slower:
        first = encode(faster, tmp_path / "t.csv", tmp_path / "out")
        complaint = go_on(slower)
    if faster is CARD: assert (slower.returncode, complaint) == (0, "")
    else: assert slower.returncode and "is there already" in complaint
    assert open_encoded(tmp_path / "out").fingerprint == first.fingerprint
    assert sorted(os.listdir(tmp_path)) == ["out", "t.csv"]


def test_interrupt(tmp_path):
    with begun(tmp_path) as process:
        process.send_signal(signal.SIGINT)
        complaint = go_on(process)
    assert process.returncode and "KeyboardInterrupt" in complaint
    assert os.listdir(tmp_path) == ["t.csv"]


KILLED = """
import os, platform, signal, sys
from collapse_nb.data.dataset import fresh_folder
if sys.argv[2]: platform.node = lambda: sys.argv[2]
with fresh_folder(sys.argv[1]): os.kill(os.getpid(), signal.SIGKILL)
"""

def test_leftovers_of_another_machine_stay(tmp_path):
    """What a killed process of this machine left is swept up; whether one of another machine lives on,
    nobody here knows."""
    left = []
    for machine in ("another-machine", ""):
        subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "out"), machine])
        left.append(set(os.listdir(tmp_path)))
    assert list(map(len, left)) == [1, 2]
    with fresh_folder(tmp_path / "out"): pass
    assert set(os.listdir(tmp_path)) == left[0] | {"out"}


def encode_under_limit(source: str, out: str, limit: int) -> None:
    """In a process of its own: files may not grow beyond `limit` bytes, which is what a full disk looks like
    to a writer."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try: encode(CARD.model_copy(update={"format": "parquet"}), source, out)
    except InputError as err: sys.exit(f"InputError: {err}")


@pytest.mark.parametrize("limit", [1, 20_000, 60_000])
def test_file_limit(tmp_path, limit):
    source = tmp_path / "t.parquet"
    pl.DataFrame({"y": [0, 1] * 4000, "a": [*range(4000)] * 2, "b": [*range(2000)] * 4}).write_parquet(source)
    call = (f"import test_data_faults as t; t.encode_under_limit({str(source)!r}, {str(tmp_path / 'out')!r}, "
            f"{limit})")
    done = subprocess.run([sys.executable, "-c", call], cwd=os.path.dirname(__file__), capture_output=True,
                          text=True)
    assert done.returncode == 1 and "is full" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert os.listdir(tmp_path) == ["t.parquet"]


def test_full_disk(tmp_path, small_disk):
    (tmp_path / "t.csv").write_bytes(table(HEADER, *[f"{i % 2},{i},{i}" for i in range(20_000)]))
    with pytest.raises(InputError, match="is full"): encode(CARD, tmp_path / "t.csv", small_disk / "out")
    assert os.listdir(small_disk) == []
