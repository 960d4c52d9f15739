"Criteo and Avazu from raw files: the same ids as the obvious encoder, and bad rows named or put aside."
import gzip
import json
import math
import os
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_commands import collapse

from collapse_nb.data.cards import load_card
from collapse_nb.data.dataset import split_sizes
from collapse_nb.data.encode import encode
from collapse_nb.data.made_up.raw import write_raw
from collapse_nb.records import InputError


@cache
def rule(text: str) -> str:
    "Criteo's rule for integers, one text at a time."
    if not text: return ""
    v = int(text)
    return str(v - 2 if v <= 2 else math.floor(math.log(v) ** 2))


def per_line(card, lines: list[str]) -> tuple[list[int], np.ndarray, np.ndarray]:
    """The obvious encoder: two passes, dictionaries, a line at a time. Cardinalities, ids and labels in the
    stored order."""
    separator = "\t" if card.format == "tsv" else ","
    names = list(card.columns) or lines.pop(0).split(separator)
    label, picked = names.index(card.label), [(names.index(f.column or f.sql), rule if f.transform else str)
                                              for f in card.fields]
    rows = [line.split(separator) for line in lines]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(card.split_seed)).tolist()
    num_train, *_ = split_sizes(len(rows), card.split)
    counted = rows if card.vocabulary == "all" else [rows[i] for i in order[:num_train]]
    ids = []
    for j, value in picked:
        counts = Counter(value(row[j]) for row in counted)
        kept = sorted((v for v, n in counts.items() if n >= card.min_count), key=lambda v: (-counts[v], v))
        ids.append({v: i for i, v in enumerate(kept)})
    x = [[d.get(value(rows[i][j]), len(d)) for d, (j, value) in zip(ids, picked, strict=True)] for i in order]
    return [len(d) + 1 for d in ids], np.array(x, np.int32), np.array([int(rows[i][label]) for i in order],
                                                                      np.uint8)


def same(card, source: Path, out: Path) -> None:
    data = encode(card, source, out)
    text = gzip.decompress(source.read_bytes()) if source.suffix == ".gz" else source.read_bytes()
    cardinalities, x, y = per_line(card, text.decode().splitlines())
    assert data.schema.cardinalities == tuple(cardinalities)
    assert np.array_equal(np.load(out / "x.npy"), x) and np.array_equal(np.load(out / "y.npy"), y)


@pytest.mark.parametrize("name, vocabulary", [("criteo", "all"), ("avazu", "train")])
def test_generated_files(tmp_path, name, vocabulary):
    source = write_raw(name, 200_000, tmp_path / "raw.gz", 3)
    same(load_card(name).model_copy(update={"vocabulary": vocabulary}), source, tmp_path / "out")


number = st.sampled_from(["", "0", "1", "2", "3", "-1", "-2", "007", "12", "99999999", "-123456789012",
                          "9223372036854775807"])
text = st.sampled_from(["", "a", "05db9164", "05DB9164", "0", "00", "ü", "12345678", "123456789",
                        "1234567890123456", " "])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.tuples(number, text), min_size=12, max_size=40), st.booleans(), st.booleans())
def test_small_files(tmp_path_factory, cells, train, packed):
    place = tmp_path_factory.mktemp("small")
    full = load_card("criteo")
    card = full.model_copy(update={"min_count": 2, "vocabulary": "train" if train else "all",
                                   "split": (.5, .25, .25)})
    order = torch.randperm(len(cells), generator=torch.Generator().manual_seed(0)).tolist()
    label = {row: p % 2 for p, row in enumerate(order)}
    rows = [[str(label[i]), *[n] * 13, *[t] * 26] for i, (n, t) in enumerate([*cells[:-1], ("1", "a")])]
    content = "".join("\t".join(row) + "\n" for row in rows).encode()
    counted = order[:len(order) // 2] if train else order
    # a field without values
    if not all(any(row[k] for i in counted if (row := cells[i]) is not cells[-1]) for k in (0, 1)): return
    source = place / ("t.gz" if packed else "t")
    source.write_bytes(gzip.compress(content) if packed else content)
    same(card, source, place / "out")


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    return write_raw("criteo", 2000, tmp_path_factory.mktemp("raw") / "train.txt", 0)


def spoiled(raw: Path, line: int, change) -> bytes:
    lines = raw.read_bytes().split(b"\n")
    lines[line - 1] = change(lines[line - 1])
    return b"\n".join(lines)


def cell(column: int, value: bytes):
    "Put a value into a column, which counts from 1."
    def change(line: bytes) -> bytes:
        cells = line.split(b"\t")
        cells[column - 1] = value
        return b"\t".join(cells)
    return change


BAD = {
    "too few columns": (lambda line: line.rsplit(b"\t", 1)[0], "too few columns, 39 where 40 are expected",
                        40),
    "too many columns": (lambda line: line + b"\tx", "too many columns, 41 where 40", 41),
    "not UTF-8": (cell(20, b"\xff\xfe"), "is not UTF-8", 20),
    "label": (cell(1, b"2"), "must be 0 or 1, it is '2'", 1),
    "no label": (cell(1, b""), "must be 0 or 1, it is missing", 1),
    "overflow": (cell(5, b"9223372036854775808"), "overflows 64 bits", 5),
    "no integer": (cell(3, b"1.5"), "has no integer, it is '1.5'", 3),
    "zero byte": (cell(17, b"a\0b"), "zero byte", 17),
    "empty line": (lambda line: b"", "is empty", 0),
    "quote": (cell(30, b'a"b"'), "quote inside a cell", 30),
    "header": (lambda line: "\t".join(load_card("criteo").columns).encode(), "is a header where none belongs",
               1),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_row(tmp_path, raw, kind):
    change, reason, column = BAD[kind]
    source = tmp_path / "train.txt"
    source.write_bytes(spoiled(raw, 1234, change))
    with pytest.raises(InputError) as err: encode("criteo", source, tmp_path / "out")
    assert (f"{source} line 1234 " in str(err.value) and reason in str(err.value)
            and "\n" not in str(err.value))
    if 0 < column <= 40:
        assert f"(column {column}, {load_card('criteo').columns[column - 1]})" in str(err.value)
    assert os.listdir(tmp_path) == ["train.txt"]
    with pytest.raises(InputError, match=r"1 rows are bad .*line 1234.* more than the share of 0.0001"):
        encode("criteo", source, tmp_path / "out", on_bad_row="skip")
    assert os.listdir(tmp_path) == ["train.txt"]
    data = encode("criteo", source, tmp_path / "out", on_bad_row="skip", max_bad=.001)
    assert sum(map(len, (data.train, data.valid, data.test))) == 1999
    refused, = map(json.loads, (tmp_path / "out" / "refused.jsonl").read_text().splitlines())
    assert (refused["line"], refused["column"]) == (1234, column) and reason in refused["reason"]
    assert refused["row"].encode(errors="surrogateescape") == source.read_bytes().split(b"\n")[1233]
    assert json.loads((tmp_path / "out" / "schema.json").read_text())["read"]["refused"] == 1
    rest = raw.read_bytes().split(b"\n")
    (tmp_path / "rest.txt").write_bytes(b"\n".join(rest[:1233] + rest[1234:]))
    assert encode("criteo", tmp_path / "rest.txt", tmp_path / "rest").fingerprint == data.fingerprint


def test_what_changes_nothing(tmp_path, raw):
    "CRLF, a byte-order mark, no line feed at the end, gzip, and the same rows in three files."
    content = raw.read_bytes()
    half = content.index(b"\n", len(content) // 2) + 1
    for name, text in {"crlf": content.replace(b"\n", b"\r\n"), "mark": b"\xef\xbb\xbf" + content,
                       "end": content[:-1],
                       "tail": content + b"\n\r\n\n", "gz": gzip.compress(content), "a": content[:half],
                       "b": content[half:]}.items():
        (tmp_path / name).write_bytes(text)
    plain = encode("criteo", raw, tmp_path / "plain").fingerprint
    for name in "crlf", "mark", "end", "tail", "gz":
        assert encode("criteo", tmp_path / name, tmp_path / f"{name}.out").fingerprint == plain
    assert encode("criteo", [tmp_path / "a", tmp_path / "b"], tmp_path / "two").fingerprint == plain
    assert encode("criteo", [tmp_path / "b", tmp_path / "a"], tmp_path / "other").fingerprint != plain
    assert json.loads((tmp_path / "crlf.out" / "schema.json").read_text())["read"]["crlf_lines"] == 2000


def test_quoted_comma(tmp_path):
    source = write_raw("avazu", 2000, tmp_path / "train.csv", 0)
    lines = source.read_text().splitlines()
    cells = lines[9].split(",")
    source.write_text("\n".join([*lines[:9], ",".join([*cells[:-1], '"a,""b"""']), *lines[10:]]))
    out = tmp_path / "out"
    encode(load_card("avazu").model_copy(update={"min_count": 1}), source, out)
    assert 'a,"b"' in pl.read_parquet(out / "vocabulary.parquet").filter(field="C21")["value"]
    (tmp_path / "two.csv").write_text(source.read_text() + "\n" + lines[0] + "\n")
    with pytest.raises(InputError, match="line 2002 is a header where none belongs"):
        encode("avazu", tmp_path / "two.csv", tmp_path / "no")


def test_gzip_cut_short(tmp_path, raw):
    (tmp_path / "t.gz").write_bytes(gzip.compress(raw.read_bytes())[:-99])
    for policy in "stop", "skip":
        with pytest.raises(InputError, match=r"t.gz is cut off or damaged after line \d"):
            encode("criteo", tmp_path / "t.gz", tmp_path / "out", on_bad_row=policy, max_bad=1)
    assert os.listdir(tmp_path) == ["t.gz"]


def test_growing_file(tmp_path, monkeypatch, raw):
    "Somebody appends while it is read."
    from collapse_nb.data.encoding import pieces as module
    source, read = tmp_path / "t", module.text_blocks
    source.write_bytes(raw.read_bytes())

    def slow(*args, **options):
        for block in read(*args, **options):
            with open(source, "ab") as file: file.write(raw.read_bytes()[:9])
            yield block
    monkeypatch.setattr(module, "text_blocks", slow)
    with pytest.raises(InputError, match=r"changed while being read|too few columns"):
        encode("criteo", source, tmp_path / "out")
    assert os.listdir(tmp_path) == ["t"]


def test_check_and_skip_by_command(tmp_path, raw):
    (tmp_path / "t.txt").write_bytes(spoiled(raw, 7, cell(1, b"x")))
    words = ("encode", "criteo", "--source", "t.txt", "--out", "out")
    stopped = collapse(tmp_path, *words)
    assert stopped.returncode == 2 and "line 7" in stopped.stderr and "Traceback" not in stopped.stderr
    done = collapse(tmp_path, *words, "--on-bad-row", "skip", "--max-bad", ".01", "--check")
    assert done.returncode == 0, done.stderr
    assert "1,999 rows kept (published: 45,840,617), 1 refused of 2,000 read" in done.stdout
    again = collapse(tmp_path, "encode", "criteo", "--out", "out", "--check").stdout
    assert "label rate" in again and "published" in again and "C26" in again and done.stdout.endswith(again)


def test_where_nothing_compiled_can_be_kept(tmp_path, raw, monkeypatch):
    "Neither the installation nor a home can be written to."
    monkeypatch.setenv("NUMBA_CACHE_LOCATOR_CLASSES", "UserProvidedCacheLocator")
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    done = collapse(tmp_path, "encode", "criteo", "--source", raw, "--out", "out")
    assert done.returncode == 0 and (tmp_path / "out" / "x.npy").is_file(), done.stderr
