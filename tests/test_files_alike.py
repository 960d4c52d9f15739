"Columns, cells and rows that one kind of file could have read otherwise than another: alike, or refused."
import csv
import datetime as dt
import io
import random
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from collapse_nb.data.cards import Card
from collapse_nb.data.dataset import read_schema
from collapse_nb.data.encode import encode
from collapse_nb.data.encoding.splits import source_rows
from collapse_nb.data.scoring import encoded_rows, open_encoding
from collapse_nb.data.source import open_source
from collapse_nb.records import InputError

ROWS = 600
dice = random.Random(3)
TABLE = {
    "y": [int(dice.random() < .4) for _ in range(ROWS)],
    "site": [dice.choice("abc") for _ in range(ROWS)],
    "member": [dice.choice([True, False, None]) for _ in range(ROWS)],
    "day": [20240301 + dice.randrange(20) for _ in range(ROWS)],
    "row": [f"r{i}" for i in range(ROWS)],
}
TABLE["date"] = [f"2024-03-{d % 100:02}" for d in TABLE["day"]]


def text(table: dict, mark: str = ",", word=str) -> str:
    "The table as a text, None an empty cell; `word` writes a truth value."
    writer = csv.writer(out := io.StringIO(newline=""), delimiter=mark, lineterminator="\n")
    writer.writerow(table)
    cell = lambda v: "" if v is None else word(v) if isinstance(v, bool) else v
    writer.writerows([cell(v) for v in row] for row in zip(*table.values(), strict=True))
    return out.getvalue()


def card(**entries) -> Card: return Card(**{"name": "t", "label": "y", "fields": ["site"]} | entries)


def values(out: Path) -> dict[str, dict[int, str]]:
    words = pl.read_parquet(out / "vocabulary.parquet")
    return {name: dict(frame.select("id", "value").iter_rows())
            for (name,), frame in words.partition_by("field", as_dict=True).items()}


def alike(paths: list[Path], **entries) -> dict[str, dict[int, str]]:
    "The vocabulary that every file gives, with the same rows."
    outs = [path.with_name(path.name + "-out") for path in paths]
    for path, out in zip(paths, outs, strict=True): encode(card(**entries), path, out)
    for out in outs[1:]:
        for name in "x.npy", "y.npy", "vocabulary.parquet":
            assert (out / name).read_bytes() == (outs[0] / name).read_bytes(), (out, name)
    return values(outs[0])


def refused(path: Path | list[Path], sentence: str, **entries) -> None:
    out = (path if isinstance(path, Path) else path[0]).with_suffix(".not")
    with pytest.raises(InputError, match=sentence) as error: encode(card(**entries), path, out)
    assert "\n" not in str(error.value)
    assert not out.exists()


@pytest.fixture
def truths(tmp_path) -> list[Path]:
    "The same truth values as Python, R and JSON write them, and as Parquet has them."
    words = {"python": str, "r": lambda v: str(v).upper(), "json": lambda v: str(v).lower()}
    for name, word in words.items():
        (tmp_path / f"{name}.csv").write_text(text(TABLE, word=word))
    pq.write_table(pa.table(TABLE), tmp_path / "t.parquet")
    return [tmp_path / name for name in ("python.csv", "r.csv", "json.csv", "t.parquet")]


def test_truth_values_have_one_text(truths):
    fields = ["member", {"pair": "CONCAT(member, '_', site)"}, {"upper": "UPPER(member)"},
              {"bar": "member || site"}, {"is": "CASE WHEN member THEN 'in' ELSE site END"},
              {"or": "COALESCE(member, site)"}, {"cast": "LEFT(CAST(member AS VARCHAR), 1)"}]
    words = alike(truths, fields=fields)
    assert {"true", "false", None} == set(words["member"].values())
    assert {f"{t}_{s}" for t in ("true", "false", "") for s in "abc"} == set(words["pair"].values())
    assert {"t", "f", None} == set(words["cast"].values())


@pytest.mark.parametrize("where", ["member = 'True'", "'TRUE' = member", "member IN ('true')",
                                   "member <> 'false'", "member",
                                   "CASE member WHEN 'True' THEN TRUE ELSE FALSE END"])
def test_a_truth_value_is_compared_as_one(truths, where):
    words = alike(truths, fields=["row"], where=where)
    assert set(words["row"].values()) == {r for r, m in zip(TABLE["row"], TABLE["member"], strict=True) if m}


@pytest.mark.parametrize("sql", ["member LIKE 'T%'", "SUBSTR(member, 1, 1)", "REPLACE(member, 'True', 'x')",
                                 "member ILIKE '%u%'", "STARTS_WITH(member, 't')", "REVERSE(member)"])
def test_letters_of_a_truth_value_are_refused(truths, sql):
    for path in truths:
        refused(path, "looks for letters in a truth value by .*CASE WHEN", fields=[{"f": sql}])


@pytest.mark.parametrize(("digits", "scale"), [(2, 2), (5, 2), (38, 38), (9, 0)])
def test_decimals_have_the_digits_of_a_text(tmp_path, digits, scale):
    cells = [None if i % 9 == 4 else Decimal(dice.randrange(-99, 99)).scaleb(-scale) for i in range(ROWS)]
    plain = TABLE | {"d": [None if d is None else f"{d:f}" for d in cells]}
    (tmp_path / "t.csv").write_text(text(plain))
    table = pa.table(TABLE).append_column("d", pa.array(cells, pa.decimal128(digits, scale)))
    pq.write_table(table, tmp_path / "t.parquet")
    fields = ["d", {"text": "CONCAT(d, site)"}, {"number": "d * 2"}]
    words = alike([tmp_path / "t.csv", tmp_path / "t.parquet"], fields=fields)
    assert set(words["d"].values()) == set(plain["d"])


def parted(folder: Path, *tables: pa.Table) -> Path:
    folder.mkdir()
    for i, table in enumerate(tables): pq.write_table(table, folder / f"{i}.parquet")
    return folder


@pytest.mark.parametrize("swap", [False, True])
def test_times_with_and_without_a_zone_are_refused(tmp_path, swap):
    half = {name: cells[:ROWS // 2] for name, cells in TABLE.items()}
    moments = [dt.datetime(2024, 3, 1) + dt.timedelta(hours=i) for i in range(ROWS // 2)]
    with_times = lambda zone: pa.table(half | {"t": pa.array(moments, pa.timestamp("us", zone))})
    tables = [with_times(None), with_times("Europe/Paris")]
    folder = parted(tmp_path / "parts", *(tables[::-1] if swap else tables))
    refused(folder, rf"'t' holds times with a zone in .*{0 if swap else 1}\.parquet, and times without "
                    rf"one in .*{1 if swap else 0}\.parquet: write",
            fields=[{"hour": "EXTRACT(HOUR FROM t)"}])
    encode(card(), folder, tmp_path / "unused") # nobody asks for the times
    zones = parted(tmp_path / "zones", with_times("UTC"), with_times("Europe/Paris"))
    encode(card(fields=["t"]), zones, tmp_path / "out") # moments, whatever the clocks show


def test_the_mark_between_values_is_no_part_of_one(tmp_path):
    tags = [["u", "v"] if i % 2 else ["w"] for i in range(ROWS)]
    tags[400] = ["u\x1fv"]
    pq.write_table(pa.table(TABLE | {"tags": tags}), tmp_path / "t.parquet")
    refused(tmp_path / "t.parquet", r"'tags' of .*t\.parquet has the character U\+001F inside",
            fields=["tags"])


def numbers_in_lists(kind: pa.DataType, seed: int) -> pa.Table:
    some = random.Random(seed)
    lists = [[some.randrange(6) for _ in range(some.randrange(4))] for _ in range(ROWS)]
    return pa.table(TABLE).append_column("tags", pa.array(lists, pa.list_(kind)))


@pytest.mark.parametrize("swap", [False, True])
def test_lists_of_whole_and_of_decimal_numbers_hold_the_same_values(tmp_path, swap):
    whole, decimal = (numbers_in_lists(kind, i) for i, kind in enumerate((pa.int64(), pa.float64())))
    folder = parted(tmp_path / "parts", *((decimal, whole) if swap else (whole, decimal)))
    encode(card(fields=["tags"]), folder, tmp_path / "out")
    assert set(values(tmp_path / "out")["tags"].values()) == {None, *(f"{i}.0" for i in range(6))}


@pytest.mark.parametrize("first", [0, 1])
def test_later_lists_may_be_of_the_other_kind(tmp_path, first):
    for i, kind in enumerate((pa.int64(), pa.float64())):
        pq.write_table(numbers_in_lists(kind, 0), tmp_path / f"{i}.parquet")
    encode(card(fields=["tags"]), tmp_path / f"{first}.parquet", tmp_path / "out")
    encoding = open_encoding(tmp_path / "out")
    ids = [[x for x, _ in encoded_rows(encoding, tmp_path / f"{i}.parquet", tmp_path)] for i in range(2)]
    assert np.array_equal(*map(np.concatenate, ids))
    for _, strange in encoded_rows(encoding, tmp_path / f"{1 - first}.parquet", tmp_path):
        assert not strange.any()


@pytest.mark.parametrize("mark", [",", "\t"])
@pytest.mark.parametrize("cell", ['5" wide', 'b"', '5" x 7" x 9"'])
@pytest.mark.parametrize("later", [0, 1, 40])
def test_a_quote_inside_a_cell_is_named_with_line_and_column(tmp_path, mark, cell, later):
    cells = ["plain"] * ROWS
    cells[100] = cell
    if later: cells[100 + later] = '7" wide'
    rows = [mark.join(["y", "note", "site", "row"])] + [
        mark.join([str(y), note, site, row])
        for y, note, site, row in zip(TABLE["y"], cells, TABLE["site"], TABLE["row"], strict=True)]
    (path := tmp_path / ("t.csv" if mark == "," else "t.tsv")).write_text("\n".join(rows) + "\n")
    refused(path, r"line 102 has a quote inside a cell.*\(column 2.*quotes = false", fields=["site", "note"])
    encode(card(fields=["site", "note"], quotes=False), path, tmp_path / "out")
    assert cell in values(tmp_path / "out")["note"].values()


def test_a_quote_that_opens_a_cell_is_named_with_line_and_column(tmp_path):
    lines = text({"y": TABLE["y"], "site": TABLE["site"], "note": TABLE["row"]}).splitlines()
    for later, sentence in ((0, r"opened at line 51 \(column 3\) is never closed"),
                            (9, "line 51 has a quote that opens")):
        changed = list(lines)
        changed[50] = '1,a,"open'
        if later: changed[50 + later] = '1,b",c'
        (path := tmp_path / f"{later}.csv").write_text("\n".join(changed) + "\n")
        refused(path, f"{sentence}.*quotes = false", fields=["site"])


@pytest.mark.parametrize("mark", [",", "\t"])
@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("later", [1, 2, 30])
def test_lone_quotes_lose_no_rows_of_two_columns(tmp_path, mark, column, later):
    names = ["site", "y"] if column == 0 else ["y", "site"]
    rows = [[str(v) for v in row] for row in zip(*(TABLE[n] for n in names), strict=True)]
    rows[70][column], rows[70 + later][column] = '"hm', 'ok"'
    body = "".join(mark.join(row) + "\n" for row in [names, *rows])
    (path := tmp_path / ("t.csv" if mark == "," else "t.tsv")).write_text(body)
    refused(path, "line 72 has a quote that opens a cell of several lines, and they look like rows")
    data = encode(card(quotes=False), path, tmp_path / "out")
    assert len(data.train) + len(data.valid) + len(data.test) == ROWS


def test_letters_of_several_lines_are_read_in_two_columns(tmp_path):
    notes = [dice.choice(["yes, please\nand soon", "plain", "one\ntwo", "a,b", "Main St, Springfield\nUSA"])
             for _ in range(ROWS)]
    for names in ["note", "y"], ["y", "note"]:
        (path := tmp_path / f"{names[0]}.csv").write_text(text({n: notes if n == "note" else TABLE[n]
                                                                for n in names}))
        encode(card(fields=["note"]), path, tmp_path / names[0])
        assert set(values(tmp_path / names[0])["note"].values()) == set(notes)


def test_cuts_on_another_scale_are_answered_with_both(tmp_path):
    (path := tmp_path / "t.csv").write_text(text(TABLE))
    refused(path, r"has '2024-03-10', and 'day' is a number, such as 202403\d\d: give two such numbers, or "
                  r"make it a time, as in split_time = \"STRPTIME\(CAST\(day AS VARCHAR\), '%Y%m%d'\)\"",
            split_time="day", split_cuts=["2024-03-10", "2024-03-15"])
    refused(path, r"has 20240310, and 'date' is a time, such as 2024-03-\d\d: give two times",
            split_time="date", split_cuts=[20240310, 20240315])
    cuts = {"numbers": {"split_time": "day", "split_cuts": [20240310, 20240315]},
            "times": {"split_time": "date", "split_cuts": ["2024-03-10", "2024-03-15"]},
            "remedy": {"split_time": "STRPTIME(CAST(day AS VARCHAR), '%Y%m%d')",
                       "split_cuts": ["2024-03-10", "2024-03-15"]}}
    for name, entries in cuts.items(): encode(card(**entries), path, tmp_path / name)
    assert len({(tmp_path / name / "x.npy").read_bytes() for name in cuts}) == 1


def test_a_label_called_true_is_a_column(tmp_path):
    table = {"TRUE": TABLE["y"], "site": TABLE["site"]}
    (path := tmp_path / "t.csv").write_text(text(table))
    data = encode(card(label="TRUE"), path, tmp_path / "out")
    assert int(data.train.y.sum() + data.valid.y.sum() + data.test.y.sum()) == sum(TABLE["y"])
    (path := tmp_path / "u.csv").write_text(text(TABLE))
    refused(path, "the label of t is 1 in all 600 rows", label="TRUE")


def test_double_quotes_around_a_text_are_answered(tmp_path):
    (path := tmp_path / "t.csv").write_text(text(TABLE))
    for sql in 'date = "yes"', 'date<>"yes"', 'date IN ("yes", \'no\')', 'date LIKE "yes"':
        refused(path, "unknown column in the label, .*, or write a text in single quotes, 'yes'", label=sql)
    refused(path, "'dat': did you mean 'date'.* Choose one of y, .* in single quotes, 'dat'",
            label='"dat" > 3')


@pytest.mark.parametrize("sql", ["REPLACE(REPEAT(site, 200), 'a', '{}')", "REPLACE(note, 'a', '{}')",
                                 "REPLACE(REPEAT(day, 200), site, '{}')",
                                 "REPLACE(CONCAT(REPEAT(day, 250), site), '2', '{}')"])
def test_what_is_put_in_makes_no_text_without_end(tmp_path, sql):
    table = TABLE | {"note": ["a" * 2000] * ROWS}
    (tmp_path / "t.csv").write_text(text(table))
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    for path in tmp_path / "t.csv", tmp_path / "t.parquet":
        refused(path, "REPLACE makes a text of more than 100,000 bytes",
                fields=["site", {"f": sql.format("x" * 999)}])


@pytest.mark.parametrize("code", ["-1", "0", "55296", "1114112", "1e300"])
def test_a_character_that_is_none_is_refused_with_the_card(code):
    with pytest.raises(InputError, match=r"asks CHR for the character .*as in CHR"):
        card(fields=[{"f": f"CHR({code})"}])


@pytest.mark.parametrize("source", ["https:/x.y/t.csv", "https://x.y/t.csv", "s3://bucket/t.parquet"])
def test_an_address_is_no_file(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    sentence = rf"{source.partition(':')[0]}://\w.* is an address, and only files are read: fetch it"
    with pytest.raises(InputError, match=sentence): encode(card(), source, tmp_path / "out")
    with pytest.raises(InputError, match=sentence): open_source("hflights", source)


@pytest.mark.parametrize("in_card", [False, True])
@pytest.mark.parametrize(("first", "later"), [(",", "\t"), ("\t", ",")])
def test_a_later_file_is_read_as_its_name_says(tmp_path, first, later, in_card):
    kinds = {",": "csv", "\t": "tsv"}
    for mark, kind in kinds.items(): (tmp_path / f"t.{kind}").write_text(text(TABLE, mark))
    entries = {"fields": ["site", "day"]} | ({"format": kinds[first]} if in_card else {})
    encode(card(**entries), tmp_path / f"t.{kinds[first]}", tmp_path / "out")
    encoding = open_encoding(tmp_path / "out")
    rows = lambda kind: np.concatenate(
        [x for x, _ in encoded_rows(encoding, tmp_path / f"t.{kind}", tmp_path)])
    if not in_card: assert np.array_equal(rows("csv"), rows("tsv"))
    else: # the card says what every text is
        with pytest.raises(InputError, match="is one column: separate columns"): rows(kinds[later])
        assert len(rows(kinds[first])) == ROWS
    (tmp_path / f"t.{kinds[later]}").write_text(text({"site": TABLE["site"]}, later))
    with pytest.raises(InputError, match=r"lacks the column 'day'"): rows(kinds[later])


WAYS = {"at random": {}, "some of them": {"where": "site <> 'a'"}, "in time": {"split_time": "day"}}


@pytest.mark.parametrize("way", WAYS)
def test_refused_rows_count_on_the_way_back(tmp_path, way):
    "Every stored row is the row of its file that it is said to be, where others could not be read."
    lines = text({n: TABLE[n] for n in ("y", "site", "row", "day")}).splitlines()
    odd = {1: "cut,off", 40: "", 41: "maybe,a,x,20240301", 300: "1,2,3,4,5",
           301: '0,a,"b"c,20240301', 560: "0,\xff,x,1"}
    for at, line in odd.items(): lines.insert(at, line)
    whole, halves = tmp_path / "t.csv", [tmp_path / f"{i}.csv" for i in range(2)]
    whole.write_bytes(("\n".join(lines) + "\n").encode("latin-1"))
    for half, own in zip(halves, (lines[:302], lines[:1] + lines[302:]), strict=True):
        half.write_bytes(("\n".join(own) + "\n").encode("latin-1"))
    entries = {"fields": ["row"], "vocabulary": "all"} | WAYS[way]
    for name, source in {"one": whole, "two": halves}.items():
        data = encode(card(**entries), source, tmp_path / name, "skip", .5)
        words = values(tmp_path / name)["row"]
        for part, rows in source_rows(tmp_path / name).items():
            stored = [words[int(i)] for i in getattr(data, part).x[:, 0]]
            assert stored == [lines[1 + row].split(",")[2] for row in rows.tolist()]


SNOWFLAKE = 1765432109876543210


@pytest.fixture(params=[pa.int64(), pa.uint64()], ids=str)
def snowflakes(request, tmp_path) -> list[Path]:
    "Forty ids of 19 digits that are one number to 15 digits."
    ids = TABLE | {"uid": [SNOWFLAKE + i % 40 for i in range(ROWS)], "seven": [i % 7 for i in range(ROWS)]}
    (tmp_path / "t.csv").write_text(text(ids))
    pq.write_table(pa.table(ids | {"uid": pa.array(ids["uid"], request.param)}), tmp_path / "t.parquet")
    return [tmp_path / "t.csv", tmp_path / "t.parquet"]


@pytest.mark.parametrize(("where", "left"), {
    f"uid <> {SNOWFLAKE}": lambda i, seven: i != SNOWFLAKE,
    f"uid <> '{SNOWFLAKE}'": lambda i, seven: i != SNOWFLAKE,
    f"uid < {SNOWFLAKE + 21}": lambda i, seven: i < SNOWFLAKE + 21,
    f"uid BETWEEN {SNOWFLAKE + 3} AND {SNOWFLAKE + 21}": lambda i, seven: 3 <= i - SNOWFLAKE <= 21,
    f"uid IN ({SNOWFLAKE}, {SNOWFLAKE + 2}) OR seven = 3":
        lambda i, seven: i - SNOWFLAKE in (0, 2) or seven == 3,
    f"uid - seven > {SNOWFLAKE + 11}": lambda i, seven: i - seven > SNOWFLAKE + 11,
    f"-uid < -{SNOWFLAKE + 11}": lambda i, seven: i > SNOWFLAKE + 11,
    f"uid // 10 <= '{SNOWFLAKE // 10}'": lambda i, seven: i // 10 <= SNOWFLAKE // 10,
    f"ROUND(uid) = {SNOWFLAKE} OR seven > 1": lambda i, seven: i == SNOWFLAKE or seven > 1,
    f"CAST(uid AS DECIMAL(38, 0)) <> {SNOWFLAKE}": lambda i, seven: i != SNOWFLAKE,
}.items())
def test_whole_numbers_of_many_digits_are_compared_by_all_of_them(snowflakes, where, left):
    words = alike(snowflakes, fields=["row"], where=where)
    assert set(words["row"].values()) == {f"r{i}" for i in range(ROWS) if left(SNOWFLAKE + i % 40, i % 7)}


@pytest.mark.parametrize(("sql", "value"), {
    "uid": lambda i: i, "uid % 10": lambda i: i % 10, "uid + 1": lambda i: i + 1,
    "uid // 4": lambda i: i // 4, "ABS(-uid)": lambda i: i, "CAST(uid AS BIGINT) * 3": lambda i: 3 * i,
    "CASE WHEN seven < 9 THEN uid + 0 ELSE 5 END": lambda i: i, "GREATEST(uid + 0, seven)": lambda i: i,
    f"uid - {SNOWFLAKE}": lambda i: i - SNOWFLAKE,
}.items())
def test_whole_numbers_of_many_digits_are_computed_with_exactly(snowflakes, sql, value):
    words = alike(snowflakes, fields=["site", {"f": sql}])
    assert set(words["f"].values()) == {str(value(SNOWFLAKE + i)) for i in range(40)}


def test_a_label_of_a_number_of_many_digits(snowflakes):
    rows = alike(snowflakes, label="uid % 2 = 1", fields=["row"])["row"]
    x, y = (np.load(snowflakes[0].with_name("t.csv-out") / f"{name}.npy") for name in "xy")
    assert len(x) == ROWS and all(int(rows[i][1:]) % 2 == label for i, label in zip(x[:, 0], y, strict=True))


@pytest.mark.parametrize("sql", ["uid * 1.5", "uid + 0.5", "ROUND(uid, 2)", "COALESCE(uid + 0, 1.5)",
                                 "CASE WHEN uid > 1.5 THEN 'a' ELSE 'b' END"])
def test_what_would_lose_digits_is_refused(snowflakes, sql):
    for path in snowflakes:
        refused(path, "of more than 18 digits for a decimal number, and the last digits would be lost: .* "
                      "with a text", fields=["site", {"f": sql}])


def test_bins_of_numbers_that_differ_in_their_last_digits(snowflakes):
    for path in snowflakes:
        refused(path, "differ in their last digits, beyond the 15 that bins keep: make smaller ones",
                fields=[{"b": {"sql": "uid", "bins": 3}}])
    words = alike(snowflakes, fields=[{"b": {"sql": f"uid - {SNOWFLAKE}", "bins": 4}}])
    assert len(words["b"]) == 4


def test_a_number_of_many_digits_orders_rows(snowflakes):
    rows = alike(snowflakes, split_time="uid - seven", fields=["row"], vocabulary="all")["row"]
    numbers = [int(rows[i][1:]) for i in np.load(snowflakes[0].with_name("t.csv-out") / "x.npy")[:, 0]]
    times = [i % 40 - i % 7 for i in numbers]
    train, valid = np.cumsum(read_schema(snowflakes[0].with_name("t.csv-out"))["sizes"])[:2]
    assert max(times[:train]) < min(times[train:]) and max(times[:valid]) < min(times[valid:])


def test_digits_without_end_are_texts(tmp_path):
    table = TABLE | {"key": [f"{10**44 + i % 5}" for i in range(ROWS)]}
    (tmp_path / "t.csv").write_text(text(table))
    refused(tmp_path / "t.csv", "takes the column 'key' for a whole number of at most 38 digits, and the "
                                "cell '10{41}", fields=["site", {"f": "key % 10"}])
    encode(card(fields=["key"], where=f"key <> '{10**44}'"), tmp_path / "t.csv", tmp_path / "out")
    assert len(values(tmp_path / "out")["key"]) == 4


@pytest.mark.parametrize("entries", [
    {"where": "c > 10"}, {"where": "c = 1234"}, {"fields": ["site", {"f": "c + 1"}]}, {"label": "c = 1"},
    {"fields": ["site", {"b": {"sql": "c", "bins": 2}}]}, {"types": {"c": "float"}, "fields": ["c"]},
    {"types": {"c": "integer"}, "fields": ["c"]}, {"fields": ["site", {"f": "CAST(c AS INTEGER)"}]}])
def test_a_cell_with_an_underscore_is_no_number(tmp_path, entries):
    table = TABLE | {"c": ["1", "0_1", "12_34"] * (ROWS // 3)}
    (tmp_path / "t.csv").write_text(text(table))
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    for path in tmp_path / "t.csv", tmp_path / "t.parquet":
        refused(path, r"the cell '0_1' in (line 3|row 2) of .* is (none|not)", **entries)


def test_a_cell_with_an_underscore_is_a_text(tmp_path):
    (tmp_path / "t.csv").write_text(text(TABLE | {"c": ["1", "0_1", "12_34"] * (ROWS // 3)}))
    words = alike([tmp_path / "t.csv"], fields=["c", {"f": "TRY_CAST(c AS DOUBLE)"}], where="c <> '12_34'")
    assert set(words["c"].values()) == {"1", "0_1"} and set(words["f"].values()) == {"1.0", None}


def test_a_whole_number_has_one_value_however_it_is_written(tmp_path):
    digits = [str(i % 5 - 1) for i in range(ROWS)]
    odd = {"-1": "-01", "0": "-0", "1": "+1", "2": "002", "3": "3"}
    paths = [tmp_path / "plain.csv", tmp_path / "odd.csv"]
    paths[0].write_text(text(TABLE | {"i": digits}))
    paths[1].write_text(text(TABLE | {"i": [odd[d] if i % 2 else d for i, d in enumerate(digits)]}))
    fields = ["i", {"next": "i + 1"}]
    words = alike(paths, fields=fields, types={"i": "integer"}, min_count=80) # 60 rows of each spelling
    assert set(words["i"].values()) == set(digits)
    encode(card(fields=fields), paths[0], tmp_path / "out") # where the cells say what the column is
    encoding = open_encoding(tmp_path / "out")
    ids = [np.concatenate([x for x, _ in encoded_rows(encoding, path, tmp_path)]) for path in paths]
    assert np.array_equal(*ids) and ids[0].max() == 4


@pytest.mark.parametrize("cell", ["1_0", "--3", "+-3", "1e1", "0x3", "+"])
def test_what_is_no_whole_number_is_refused_in_later_rows(tmp_path, cell):
    (tmp_path / "t.csv").write_text(text(TABLE | {"i": [i % 5 for i in range(ROWS)]}))
    encode(card(fields=["i"]), tmp_path / "t.csv", tmp_path / "out")
    (tmp_path / "new.csv").write_text(f"i\n3\n{cell}\n")
    with pytest.raises(InputError, match=r"'i' is integer in training, and the cell .* in line 3"):
        list(encoded_rows(open_encoding(tmp_path / "out"), tmp_path / "new.csv", tmp_path))


@pytest.mark.parametrize("null", ["False", "false", "FALSE"])
def test_a_truth_value_that_means_missing(truths, null):
    words = alike(truths, fields=["member", {"is": "member IS NULL"}], null_values=[null])
    assert set(words["member"].values()) == {"true", None} and set(words["is"].values()) == {"true", "false"}
    out = truths[0].with_name("python.csv-out")
    assert not [r for r in read_schema(out)["remarks"] if "null_values" in r]
    encoding = open_encoding(out)
    first, *others = (np.concatenate([x for x, _ in encoded_rows(encoding, path, path.parent)])
                      for path in truths)
    assert all(np.array_equal(first, x) for x in others)


def test_a_truth_value_that_is_a_word_among_others(tmp_path):
    (tmp_path / "t.csv").write_text(text(TABLE | {"w": ["false", "False", "x"] * (ROWS // 3)}))
    words = alike([tmp_path / "t.csv"], fields=["w"], null_values=["False"])
    assert set(words["w"].values()) == {"false", "x", None}


def test_null_values_that_occur_nowhere_are_remarked_on(tmp_path):
    gaps = [None if i % 9 == 4 else float(i % 5 - 1) for i in range(ROWS)]
    table = TABLE | {"i": gaps, "other": ["?"] * ROWS}
    (tmp_path / "t.csv").write_text(text(table))
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    paths = [tmp_path / "t.csv", tmp_path / "t.parquet"]
    alike(paths, fields=["i", "site"], null_values=["-1", "c", "?"])
    for path in paths:
        remarks = read_schema(path.with_name(path.name + "-out"))["remarks"]
        expected = [f"null_values has {text!r}, which occurs nowhere in the columns that are used: {mend}"
                    for text, mend in {"-1": "the column 'i' has '-1.0', so write that",
                                       "?": "write it as the cells have it, or take it out"}.items()]
        assert [r for r in remarks if "null_values" in r] == expected


MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize("quoted", [False, True])
def test_joined_files_with_a_byte_order_mark_are_as_without(tmp_path, quoted):
    table = {"site": TABLE["site"], "y": TABLE["y"], "row": TABLE["row"]}
    body = text(table).encode()
    if quoted: body = b"".join(b'"%s",%s\n' % tuple(line.split(b",", 1)) for line in body.splitlines())
    paths = [tmp_path / "plain.csv", tmp_path / "marked.csv"]
    for path, mark in zip(paths, (b"", MARK), strict=True): path.write_bytes(2 * (mark + body))
    words = alike(paths, label="y = '1'", fields=["site", "row"], vocabulary="all")
    assert set(words["site"].values()) == {*"abc", "site"}
    plain, marked = (read_schema(path.with_name(path.name + "-out"))["remarks"] for path in paths)
    assert any("header again" in r for r in plain)
    assert marked == [r.replace("plain.csv", "marked.csv") for r in plain]
    for path in paths: refused(path, "line 602 is a header where none belongs", label="y", fields=["site"])
    for path in paths: path.write_bytes(path.read_bytes().replace(body.splitlines()[0] + b"\n", b""))
    bare = [path.rename(tmp_path / f"bare-{path.name}") for path in paths]
    words = alike(bare, columns=["site", "y", "row"], fields=["site", "row"])
    assert set(words["site"].values()) == set("abc")


def test_halves_are_written_as_they_are_read(tmp_path):
    halves = np.array([dice.choice([.1, 2.5, 3, 65504, 6e-8, -0.3]) for _ in range(ROWS)], np.float16)
    (tmp_path / "t.csv").write_text(text(TABLE | {"h": [repr(float(str(h))) for h in halves]}))
    lists = pa.array([[h] for h in halves], pa.list_(pa.float16()))
    pq.write_table(pa.table(TABLE | {"h": pa.array(halves), "l": lists}), tmp_path / "t.parquet")
    words = alike([tmp_path / "t.csv", tmp_path / "t.parquet"], fields=["h", {"twice": "h * 2"}])
    assert {"0.1", "-0.3", "3.0"} < set(words["h"].values()) and "0.2" in words["twice"].values()
    assert all(np.float16(v) in halves for v in words["h"].values())
    encode(card(fields=["l"]), tmp_path / "t.parquet", tmp_path / "lists")
    assert set(values(tmp_path / "lists")["l"].values()) - {None} == set(words["h"].values())


MOMENT = np.datetime64("2024-03-01T09:12:44.123456000", "ns")


@pytest.mark.parametrize(("where", "left"), {
    "t > '2024-03-01 09:12:44.123456'": lambda t, u: t > MOMENT,
    "t <= '2024-03-01T11:12:44.123456+02:00'": lambda t, u: t <= MOMENT,
    "t <> '2024-03-01 09:12:44.123456000'": lambda t, u: t != MOMENT,
    "t < '2024-03-01 09:12:44.123456500'": lambda t, u: t < MOMENT + np.timedelta64(500, "ns"),
    "t < u": lambda t, u: t < u,
    "t BETWEEN '2024-03-01' AND u": lambda t, u: t <= u,
    "t > DATE_TRUNC('microseconds', u)": lambda t, u: t > u.astype("M8[us]"),
}.items())
@pytest.mark.parametrize("step", [333, 1001]) # of which the first ones differ in nanoseconds alone
def test_times_below_a_microsecond(tmp_path, where, left, step):
    t = MOMENT + np.arange(-300, ROWS - 300) * np.timedelta64(step, "ns")
    u = MOMENT + np.arange(300 - ROWS, 300)[::-1] * np.timedelta64(500, "ns")
    times = {"t": t, "u": u}
    (tmp_path / "t.csv").write_text(text(TABLE | {name: [str(v).replace("T", " ") for v in cells]
                                                  for name, cells in times.items()}))
    pq.write_table(pa.table(TABLE | {name: pa.array(cells, pa.timestamp("ns"))
                                     for name, cells in times.items()}), tmp_path / "t.parquet")
    words = alike([tmp_path / "t.csv", tmp_path / "t.parquet"], fields=["row"], where=where)
    assert set(words["row"].values()) == {f"r{i}" for i in range(ROWS) if left(t[i], u[i])}
    refused(tmp_path / "t.csv", "'t'", fields=["site", {"b": {"sql": "t", "bins": 2}}])


LISTS = {
    "truths": (pa.bool_(), [True, False], lambda v: str(v), {"true", "false"}),
    "numbers": (pa.float64(), [1.5, 2.0, float("nan"), -3.25], lambda v: f"{v:g}", {"1.5", "2.0", "-3.25"}),
    "whole": (pa.int64(), [1, 2, -7], str, {"1", "2", "-7"}),
    "words": (pa.string(), ["a", "NA", "nan", "b"], str, {"a", "nan", "b"}),
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists_in_cells_and_in_parquet_hold_the_same_values(tmp_path, kind):
    of, choice, word, expected = LISTS[kind]
    lists = [[dice.choice(choice) for _ in range(1 + i % 3)] for i in range(ROWS)]
    (tmp_path / "t.csv").write_text(text(TABLE | {"tags": ["|".join(map(word, v)) for v in lists]}))
    pq.write_table(pa.table(TABLE | {"tags": pa.array(lists, pa.list_(of))}), tmp_path / "t.parquet")
    cards = {"t.csv": {"tags": {"column": "tags", "separator": "|"}},
             "t.parquet": {"tags": {"column": "tags"}}}
    encodings = []
    for name, fields in cards.items():
        encode(card(fields=[fields], null_values=["NA"]), tmp_path / name, out := tmp_path / f"{name}-out")
        encodings.append((values(out), np.load(out / "x.npy")))
        ids = np.concatenate([x for x, _ in encoded_rows(open_encoding(out), tmp_path / name, tmp_path)])
        assert sorted(map(sorted, ids.tolist())) == sorted(map(sorted, encodings[-1][1].tolist()))
    assert encodings[0][0] == encodings[1][0] and set(encodings[0][0]["tags"].values()) - {None} == expected
    assert np.array_equal(encodings[0][1], encodings[1][1])
