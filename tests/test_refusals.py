"What a newcomer's table is refused for, in one sentence that says what to do; and what is read after all."
import re
import tomllib
import unicodedata
from decimal import Decimal

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from collapse_nb.data.cards import Card, load_card
from collapse_nb.data.dataset import read_schema
from collapse_nb.data.encode import encode
from collapse_nb.data.source import open_source
from collapse_nb.data.sources.parts import parts
from collapse_nb.nn.zoo import ModelSpec
from collapse_nb.records import InputError
from collapse_nb.serve import export_onnx, predict_file, predict_frame
from collapse_nb.train.fit import Recipe
from collapse_nb.train.runs import Group, RunStore, open_run
from collapse_nb.train.sweep import run_group, sweep

TABLE = "y,u\n" + "0,a\n1,b\n" * 50


def shop(**card): return Card(**{"name": "shop", "label": "y", "fields": ["u"]} | card)

def rows(n=2000): return [(i % 2, f"user_{i * 7919 % 300}") for i in range(n)]

def card_file(folder):
    (path := folder / "shop.toml").write_text('name = "shop"\nlabel = "y"\nfields = ["u"]\n')
    return path

def refused(sentence, source, out, **card):
    "Encoding is refused with a sentence, which is returned, and nothing is left of it."
    before = sorted(out.parent.iterdir())
    with pytest.raises(InputError, match=sentence) as err: encode(shop(**card), source, out)
    assert sorted(out.parent.iterdir()) == before
    return str(err.value)

@pytest.fixture(scope="module")
def run(tmp_path_factory):
    "The folder of a tiny model's run."
    folder = tmp_path_factory.mktemp("run")
    (folder / "t.csv").write_text(TABLE)
    data = encode(shop(), folder / "t.csv", folder / "encoded")
    group = Group(dataset=data.name, fingerprint=data.fingerprint,
                  spec=ModelSpec("DNN", base_dim=2, hidden=4), recipe=Recipe(max_epochs=1), seeds=range(1))
    sweep([group], store := RunStore(folder / "store", weights=True),
          run=lambda group: run_group(group, data, "cpu"))
    return store.path / group.id


# Parquet files whose texts are kept as differences

def as_duckdb(path, cells):
    "DuckDB's own second version of the format, its dictionaries off."
    rows_there = pa.table({"y": [y for y, _ in cells], "u": [u for _, u in cells]}) # noqa: F841 (by name)
    duckdb.sql(f"COPY (SELECT y::INT y, u FROM rows_there) TO '{path}' "
               "(FORMAT parquet, PARQUET_VERSION v2, DICTIONARY_SIZE_LIMIT 1)")

def as_pyarrow(encoding):
    def write(path, cells):
        table = pa.table({"y": [y for y, _ in cells], "u": [u for _, u in cells]})
        pq.write_table(table, path, use_dictionary=False, column_encoding={"u": encoding})
    return write

@pytest.mark.parametrize("write", [as_duckdb, as_pyarrow("DELTA_BYTE_ARRAY"),
                                   as_pyarrow("DELTA_LENGTH_BYTE_ARRAY")])
def test_texts_kept_as_differences_are_read(tmp_path, write):
    "Alone and beside a usual part, with the ids of the same rows as CSV."
    cells = rows()
    write(tmp_path / "1.parquet", cells[:1000])
    about = pq.read_metadata(tmp_path / "1.parquet").row_group(0).column(1)
    assert any(e.startswith("DELTA") for e in about.encodings), about.encodings
    pq.write_table(pa.table(dict(zip("yu", map(list, zip(*cells[1000:], strict=True)), strict=True))),
                   tmp_path / "2.parquet")
    (tmp_path / "t.csv").write_text("y,u\n" + "".join(f"{y},{u}\n" for y, u in cells))
    one = encode(shop(), [tmp_path / "1.parquet", tmp_path / "2.parquet"], tmp_path / "parquet")
    other = encode(shop(), tmp_path / "t.csv", tmp_path / "csv")
    assert one.fingerprint == other.fingerprint


# sources and places that are links or have no room

def test_a_link_that_leads_to_no_file(run, tmp_path):
    "As the source, met by a pattern or in a folder, and for all who take one."
    (tmp_path / "a.csv").write_text(TABLE)
    (link := tmp_path / "latest.csv").symlink_to("/nowhere/today.csv")
    sentence = (r"latest\.csv is a link to /nowhere/today\.csv, and there is no such file: mend the link, or "
                "name")
    for source in link, tmp_path / "*.csv", tmp_path, [tmp_path / "a.csv", link]:
        refused(sentence, source, tmp_path.parent / "out")
    for source in link, tmp_path / "*.csv":
        with pytest.raises(InputError, match=sentence): predict_file(run, source, tmp_path / "scores.csv")
    with pytest.raises(InputError, match=sentence): open_source(str(card_file(tmp_path)), str(link))
    with pytest.raises(InputError, match=sentence): parts(load_card("movielens-1m"), [link])
    for name in ("x" * 300,), ("x" * 300, "t.csv"):
        refused(r"x cannot be opened \(File name too long\): check the path|csv cannot be opened \(File name",
                tmp_path.joinpath(*name), tmp_path / "out")
    (loop := tmp_path / "loop.csv").symlink_to(loop)
    refused("is a link to .*loop.csv, and there is no such file", loop, tmp_path / "out")

@pytest.mark.parametrize("name, sentence", [
    ("x" * 300, r" \(File name too long\): choose another place"),
    ("x" * 240, r" \(File name too long\): choose another place"), # the name of what is written meanwhile
    ("link", r", a link to \S*nothing, which is not there: remove the link, or choose another name"),
])
def test_a_place_that_cannot_be_written(run, tmp_path, name, sentence):
    "For `encode`, for scores, and for ONNX."
    (tmp_path / "t.csv").write_text(TABLE)
    for ending in "", ".csv", ".parquet", ".onnx":
        if name == "link": (tmp_path / f"link{ending}").symlink_to(tmp_path / "nothing")
    before = sorted(tmp_path.iterdir())
    refused(rf"cannot write \S*{name}{sentence}", tmp_path / "t.csv", tmp_path / name)
    for ending in ".csv", ".parquet":
        with pytest.raises(InputError, match=rf"cannot write \S*{name}{ending}{sentence}"):
            predict_file(run, tmp_path / "t.csv", tmp_path / f"{name}{ending}")
    with pytest.raises(InputError, match=rf"cannot write \S*{name}.onnx{sentence}"):
        export_onnx(open_run(run)[1], tmp_path / f"{name}.onnx")
    assert sorted(tmp_path.iterdir()) == before

@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_scores_on_a_full_disk(run, tmp_path, small_disk, ending):
    (tmp_path / "t.csv").write_text("u\n" + "a\nb\n" * 20_000)
    with pytest.raises(InputError, match=r"the disk under .* is full: make room or write somewhere else; "
                                         r"nothing was left behind"):
        predict_file(run, tmp_path / "t.csv", small_disk / f"scores{ending}")
    assert not list(small_disk.iterdir())


# values and frames

@pytest.mark.parametrize("cell", ["inf", "-inf"])
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_number_without_end_orders_nothing(tmp_path, cell, ending):
    "By a line of a text, by a row of Parquet; and a time that is infinite."
    times = [str(k + .5) for k in range(100)]
    times[42] = cell
    if ending == ".csv":
        path, place = tmp_path / "t.csv", r"in line 44 of .*t\.csv"
        path.write_text("y,u,t\n" + "".join(f"{k % 2},a,{t}\n" for k, t in enumerate(times)))
    else:
        path, place = tmp_path / "t.parquet", r"in row 43 of .*t\.parquet"
        pq.write_table(pa.table({"y": [0, 1] * 50, "u": ["a"] * 100, "t": list(map(float, times))}), path)
    refused(rf"split_time, 't', is {cell} {place}, which has no place in an order that is cut: mend the cell",
            path, tmp_path / "out", split_time="t")
    kept = encode(shop(split_time="t", where="t BETWEEN -9 AND 999"), path, tmp_path / "kept")
    assert len(kept.train) + len(kept.valid) + len(kept.test) == 99

def test_numbers_as_far_apart_as_can_be(tmp_path):
    "The difference of two is larger than any number; so that of two whole ones is than any of 64 bits."
    for kind, far in ("DOUBLE", "1.7e308"), ("BIGINT", str(9 * 10**18)):
        cells = [f"-{far}", far]
        path = tmp_path / f"{kind}.csv"
        path.write_text("y,u,t\n" + "".join(f"{k % 2},a,{cells[k // 2] if k in (0, 2) else k}\n"
                                            for k in range(100)))
        encode(shop(split_time=f"CAST(t AS {kind})"), path, tmp_path / kind)
        time = read_schema(tmp_path / kind)["time"]
        assert sum(time["rows"]) == 100 and time["rows"][0] == 1 == time["rows"][-1]

def test_decimals_of_many_digits(tmp_path):
    "Read where the digits are few enough for the engine, and refused where they are not."
    amounts = [Decimal(k) / 4 for k in range(100)]
    path = tmp_path / "t.parquet"
    column = lambda kind, values: pq.write_table(
        pa.table({"y": [0, 1] * 50, "u": pa.array(values, kind)}), path)
    column(pa.decimal256(50, 2), amounts)
    wide = encode(shop(), path, tmp_path / "wide")
    column(pa.decimal128(30, 2), amounts)
    assert encode(shop(), path, tmp_path / "narrow").fingerprint == wide.fingerprint
    column(pa.decimal256(50, 2), [*amounts[:-1], Decimal("9" * 40)])
    refused(r"the column 'u' of .*t\.parquet holds decimal numbers of more than 38 digits \(decimal256\(50, "
            r"2\)\): save it with fewer, or as text", path, tmp_path / "out")

@pytest.mark.parametrize("rows, sentence", [
    (pd.DataFrame([["a", "b"]], columns=["u", "u"]), "has the column 'u' twice: give every column its own"),
    (pl.LazyFrame({"u": ["a"]}), r"the type LazyFrame were given: give a DataFrame of pandas or polars, as "
                                 r"rows\.collect\(\)"),
    ({"u": ["a"]}, r"the type dict were given: give a DataFrame of pandas or polars, as pandas\.DataFrame"),
    ([{"u": "a"}], r"the type list were given: give a DataFrame .*, as pandas\.DataFrame\(rows\) makes"),
    (pd.Series(["a"]), r"the type Series were given: .*, as rows\.to_frame\(\) makes one"),
    (pa.table({"u": ["a"]}), r"the type Table were given: .*, as rows\.to_pandas\(\) makes one"),
    (None, r"the type NoneType were given: give a DataFrame of pandas or polars\.$"),
    (pd.DataFrame({"u": ["a", 1]}, dtype=object), "a column that is no column of a table .*: give each"),
    (pd.DataFrame({"u": pd.arrays.SparseArray([1, 1])}), "a column that is no column of a table"),
    (pd.DataFrame({"u": [{}]}), "a column that is no column of a table"),
])
def test_a_frame_that_is_none(run, rows, sentence):
    with pytest.raises(InputError, match=sentence): predict_frame(run, rows)


# times in several spellings, each with the remedy that is printed

def minutes(*odd, form="2024-03-01 0{}:{:02}:01"):
    return [*odd, *(form.format(k // 10, k % 10) for k in range(100 - len(odd)))]

SPELLED = {
    "zones": (minutes("2024-03-01 01:00:01+01:00", "2024-03-01 00:00:01+00:00",
                      form="2024-03-02 0{}:{:02}:01Z"), "times", 'types = { t = "timestamp" }'),
    "seconds left out": (minutes("2024-02-01 05:00", "2024-02-01 05:00:00"), "times",
                         'types = { t = "timestamp" }'),
    "one with a zone": (minutes("2024-02-01 05:00:00", "2024-02-01 05:00:00Z"), "times",
                        'types = { t = "timestamp" }'),
    "no zeros in front": (minutes("2024-02-01 05:00", "2024-2-1 5:00", form="2024-3-1 {}:{}:1"), "times",
                          'split_time = "CAST(t AS TIMESTAMP)"'),
    "nanoseconds": ([str(1709254800_000000000 + k * 10**9) for k in range(100)], "whole numbers of 19 digits",
                    'split_time = "TO_TIMESTAMP(CAST(t // 1000000000 AS DOUBLE))"'),
    "zeros in front": ([f"{k:03}" for k in range(99)] + ["7"], "numbers", 'types = { t = "integer" }'),
    "fractions": ([f"{k}.5" for k in range(99)] + ["7.50"], "numbers", 'types = { t = "float" }'),
}

@pytest.mark.parametrize("name", SPELLED)
@pytest.mark.parametrize("column", ["t", "seen at"])
def test_a_time_in_several_spellings(tmp_path, name, column):
    cells, what, remedy = SPELLED[name]
    path = tmp_path / "t.csv"
    path.write_text(f"y,u,{column}\n" + "".join(f"{k % 2},a,{t}\n" for k, t in enumerate(cells)))
    card = {"split": (.5, .3, .2), "split_time": column}
    sentence = refused(f"split_time, '{column}', is taken for text, and all its cells are {what}", path,
                       tmp_path / "out", **card)
    if column != "t":
        key = "'seen at'" if "types" in remedy else '"seen at"'
        remedy = remedy.replace(" t ", f" {key} ").replace("(t ", f"({key} ")
        if '"seen at"' in remedy: remedy = "split_time = '" + remedy.split(' = "')[1][:-1] + "'"
    assert remedy in sentence and sum(repr(cell) in sentence for cell in cells) >= 2, sentence
    encode(shop(**card | tomllib.loads(remedy)), path, tmp_path / "mended")

def test_nanoseconds_are_the_same_in_parquet(tmp_path):
    cells = [int(cell) for cell in SPELLED["nanoseconds"][0]]
    pq.write_table(pa.table({"y": [0, 1] * 50, "u": ["a"] * 100, "t": cells}), path := tmp_path / "t.parquet")
    sentence = refused("split_time, 't', is taken for text, and all its cells are whole numbers of 19 digits",
                       path, tmp_path / "out", split_time="t")
    mend = tomllib.loads(sentence[sentence.index("split_time = "):sentence.index(" in the card")])
    assert len(encode(shop(**mend), path, tmp_path / "mended").train) == 80


# expressions

@pytest.mark.parametrize("sql, sentence, mended", [
    ("d + INTERVAL '1 month' > '2024-04-09'", "has the span of time '1 month' as a text: write .* INTERVAL 1 "
     "MONTH", "d + INTERVAL 1 MONTH > '2024-04-09'"),
    ("d - INTERVAL '1 month 2 days' < '2024-04-09'", "write .* as in INTERVAL 1 MONTH [+] INTERVAL 2 DAY",
     "d + INTERVAL 1 MONTH + INTERVAL 2 DAY > '2024-04-09'"),
    ("u IN ()", r"asks by IN for one of a list without values: write them as in u IN \('a', 'b'\)",
     "u IN ('a', 'b')"),
    ("u NOT IN ()", "asks by IN for one of a list without values", "u NOT IN ('c')"),
    ("u IN ['a']", "asks by IN for one of the values in square brackets: write", "u IN ('a', 'b')"),
    ("u = ?", "has a place for a value, such as \\?, and nobody fills it: write the value itself", "u = 'a'"),
    ("u = ANY(['a', 'b'])", r"compares with ANY, ALL or a query .*: write u IN \('a', 'b'\)",
     "u IN ('a', 'b')"),
    ("u", "is a text and not a truth value: write a condition such as u = 'yes'", "u = 'a' OR u = 'b'"),
    ("my word", "is a text and not a truth value: write a condition such as \"my word\" = 'yes'",
     "\"my word\" = 'yes'"),
    ("d", "is a date and not a truth value: write a condition such as d > '2024-03-01'", "d > '2024-03-01'"),
    ("1", "'1', is a whole number and not a truth value: write a condition such as name = 1",
     "y = 1 OR y = 0"),
    ("u[1] = 'a'", r"by square brackets: write SUBSTR\(u, 1, 1\) for a character of a text, or SPLIT_PART\(u",
     "SUBSTR(u, 1, 1) IN ('a', 'b')"),
    ("u COLLATE NOCASE = 'a'", r"compares by COLLATE, .*: compare LOWER\(column\)", "LOWER(u) < 'c'"),
])
def test_a_condition_that_is_none(tmp_path, sql, sentence, mended):
    "And the condition that the sentence asks for is one."
    path = tmp_path / "t.csv"
    path.write_text("y,u,d,my word\n" + "".join(f"{k % 2},{'ab'[k // 2 % 2]},2024-0{4 + k % 3}-01,yes\n"
                                                for k in range(200)))
    with pytest.raises(InputError, match=sentence): encode(shop(where=sql), path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    encode(shop(where=mended), path, tmp_path / "out")


# headers

def folder_of(place, *texts):
    "A folder of parts; the bytes of each are given."
    place.mkdir()
    for k, text in enumerate(texts): (place / f"{k + 1}.csv").write_bytes(text.encode())
    return place

BODY = TABLE.partition("\n")[2]

@pytest.mark.parametrize("first, sentence", [
    ("\n", "'', was taken as the header, and it is blank: take blank lines at the top out"),
    (" \n", "' ', was taken as the header, and it is blank: take blank lines at the top out"),
    ("sep=,\n", "'sep=,', was taken as the header, and it tells a spreadsheet the separator: take it out"),
    ("sep=;\n", "'sep=;', was taken as the header, and it tells a spreadsheet the separator: take it out"),
    ("# of March\n", "'# of March', was taken as the header, and it looks like a comment: take it out"),
    ("# y; u, of March\n", "'# y; u, of March', was taken as the header, and it looks like a comment: take"),
    ('{"y": 0, "u": "a"}\n', ", was taken as the header, and it looks like JSON: save the rows as CSV"),
    ("[\n", r"'\[', was taken as the header, and it looks like JSON: save the rows as CSV"),
    ("<!DOCTYPE html>\n", "'<!DOCTYPE html>', was taken as the header, and it looks like HTML or XML: fetch"),
    ("version https://git-lfs.github.com/spec/v1\n", ", was taken as the header, and it begins a pointer of "
     "Git LFS: fetch the file itself by git lfs pull"),
])
def test_a_first_line_that_is_no_header(run, tmp_path, first, sentence):
    "Of the only file, of one to be scored, and of a part whose header comes next."
    source = folder_of(tmp_path / "d", TABLE, first + TABLE)
    refused(rf"^the first line of \S*2\.csv, .*{sentence}", source / "2.csv", tmp_path / "out")
    refused(rf"^the first line of \S*2\.csv, .*{sentence}", source, tmp_path / "out")
    with pytest.raises(InputError, match=rf"^the first line of \S*2\.csv, .*{sentence}"):
        predict_file(run, source / "2.csv", tmp_path / "scores.csv")

def test_a_pointer_in_place_of_a_part(tmp_path):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0f\nsize 12\n"
    refused(r"^the first line of \S*2\.csv, .*: fetch the file itself by git lfs pull", folder_of(
        tmp_path / "d", TABLE, pointer), tmp_path / "out")

def test_a_header_is_shown_where_a_column_is_unknown(tmp_path):
    (path := tmp_path / "t.csv").write_text("Y,U\n" + BODY)
    refused(r"'y': did you mean 'Y'\? Choose one of Y, U; the first line of \S*t\.csv, 'Y,U', was taken as "
            r"the header\.$", path, tmp_path / "out")
    path.write_text(BODY)
    refused(r"the first line of \S*t\.csv, '0,a', was taken as the header: where it is none, write the names "
            r"of the columns into the card, columns = ", path, tmp_path / "out")
    encode(shop(columns=["y", "u"]), path, tmp_path / "mended")

@pytest.mark.parametrize("text", ["\ufeff", "\ufeff\n", "\ufeff\r\n\r\n"])
def test_a_file_of_a_byte_order_mark_alone_is_empty(tmp_path, text):
    (path := tmp_path / "t.csv").write_bytes(text.encode())
    refused("is empty: a header and rows were expected", path, tmp_path / "out")

@pytest.mark.parametrize("header, sentence", [
    ("Y,U\n", r"2\.csv has the column 'Y' where \S*1\.csv has 'y': did you mean 'y'\? Name the columns as "
              r"in \S*1\.csv, 'y,u'"),
    ("y, u\n", r"2\.csv has the column ' u' where \S*1\.csv has 'u': did you mean 'u'\? Name the columns"),
    ("", r"2\.csv seems to have no header, its first line is '0,a': put the header of \S*1\.csv before "
         r"it, 'y,u'"),
    ("y;u\n", r"2\.csv does not fit the card \(its header, 'y;u', is one column\), which fits 1 of the "),
    ("z,u\n", r"2\.csv lacks the column 'y', and the card, which uses it, fits 1 of the "),
])
def test_a_later_part_with_another_header(tmp_path, header, sentence):
    refused(sentence, folder_of(tmp_path / "d", TABLE, header + BODY), tmp_path / "out")
    refused(rf"{sentence}.*(1 other file does not fit either\.$|take it and 1 more away)",
            folder_of(tmp_path / "e", TABLE, header + BODY, header + BODY), tmp_path / "out")

def test_a_part_without_columns(tmp_path):
    (folder := tmp_path / "d").mkdir()
    pq.write_table(pa.table({"y": [0, 1], "u": ["a", "b"]}), folder / "1.parquet")
    pq.write_table(pa.table({}), folder / "2.parquet")
    refused(r"^\S*2\.parquet lacks the column 'y', and the card, which uses it, fits 1 of the 2 files",
            folder, tmp_path / "out")

def test_parts_none_of_which_fits(tmp_path):
    table = pa.table({"y": [0, 1], "v": ["a", "b"]})
    (folder := tmp_path / "d").mkdir()
    for name in "1.parquet", "2.parquet": pq.write_table(table, folder / name)
    refused(r"^the columns of \S*1\.parquet do not fit the card: unknown column in the field 'u', .*; it is "
            r"the first of 2 files, and the card fits none of them\.$", folder, tmp_path / "out")

@pytest.mark.parametrize("header", ["y,u\r\r\n", "y,u\n", "y,u\r\n"])
def test_returns_that_were_doubled(tmp_path, header):
    (path := tmp_path / "t.csv").write_bytes((header + BODY.replace("\n", "\r\r\n")).encode())
    refused(r"ends its lines with two carriage returns and a line feed \(\\r\\r\\n\), .*: take the returns "
            r"out, as tr -d '\\r' does", path, tmp_path / "out")
    path.write_bytes(path.read_bytes().replace(b"\r", b"")) # what tr does
    encode(shop(), path, tmp_path / "mended")

def test_letters_that_look_the_same(tmp_path):
    "Composed in the card and decomposed in the table, and the other way round; in a later part."
    forms = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    for name, column in (forms, forms[::-1]):
        (path := tmp_path / "t.csv").write_text(f"y,{column}\n{BODY}", encoding="utf-8")
        how = "decomposed, a letter and then its accent" if name == forms[0] else "composed"
        for fields in [name], {"f": f"lower({name})"}:
            refused(rf"whose letters the table has {how} \(Unicode has two forms that look the same\): copy",
                    path, tmp_path / "out", fields=fields)
        encode(shop(fields=[column]), path, tmp_path / column)
    refused("where .* has 'café', its letters composed in another way: did you mean",
            folder_of(tmp_path / "d", f"y,{forms[0]}\n{BODY}", f"y,{forms[1]}\n{BODY}"), tmp_path / "out",
            fields=forms[:1])

@pytest.mark.parametrize("cell", ["0 ", "2", "x\ty"])
def test_a_wrong_label_stands_in_quotes(tmp_path, cell):
    (path := tmp_path / "t.csv").write_text(f"{TABLE}{cell},a\n", encoding="utf-8")
    refused("line 102 has a label that must be 0 or 1, it is " + re.escape(repr(cell)), path,
            tmp_path / "out")

def test_a_card_with_a_byte_order_mark(tmp_path):
    path = card_file(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_card(path).label == "y"


# lists whose values are categories

@pytest.mark.parametrize("kind", [pl.List(pl.Categorical), pl.List(pl.Enum(["a", "b", "c"])),
                                  pl.Array(pl.Categorical, 2), pa.list_view(pa.string()),
                                  pa.large_list_view(pa.string())], ids=str)
def test_lists_of_categories_are_lists_of_texts(tmp_path, kind):
    lists = [["a", "b"], ["b", "c"], ["c", "a"], ["a", "a"]] * 25
    def encoded(values, name):
        pq.write_table(pa.table({"y": [0, 1] * 50, "u": values}), tmp_path / name)
        return encode(shop(), tmp_path / name, tmp_path / f"out-{name}")
    own = isinstance(kind, pa.DataType)
    as_kind = pa.array(lists, kind) if own else pl.Series(lists, dtype=kind).to_arrow()
    assert encoded(as_kind, "kind").fingerprint == encoded(pa.array(lists), "plain").fingerprint
