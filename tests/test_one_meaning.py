"""The same rows and the same card mean the same, whatever kind of file the rows are in: a property over
generated tables and cards."""
import csv
import datetime as dt
import gzip
import io
import json
import math
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collapse_nb.data.cards import Card
from collapse_nb.data.encode import encode
from collapse_nb.records import InputError

# ---- tables: a column is its Parquet type and its cells, which are Python's values, None where there is none

WORDS = ["a", "A", "b", "zz", " a", "a ", "x,y", 'say "hi"', '"', "two\nlines", "tab\there", "\r\n", "ü",
         "日本", "'", "NA", "null", "true",
    "1e3", "1,200", "%", "a_b", "-"]
CODES = ["007", "07", "7", "0", "00", "1", "12", "-3", "+5", "99"]
MOMENT = dt.datetime(2024, 2, 27, 22)
FLOATS = st.one_of(st.sampled_from([0.0, -0.0, .5, -.5, 2.5, 3.0, 1e-07, 1e16, 1e300, math.inf, math.nan]),
                   st.floats(-1e6, 1e6, allow_nan=False), st.integers(-40, 40).map(lambda i: i / 8))
KINDS = {
    "text": (pa.string(), st.sampled_from(WORDS)
             | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1,
    max_size=3)),
    "word": (pa.string(), st.sampled_from(WORDS[:6])),
    "code": (pa.string(), st.sampled_from(CODES)),
    "day": (pa.string(), st.sampled_from(["2024-02-28", "2024-02-29", "2024-03-01"])),
    "integer": (pa.int64(), st.integers(-3, 12)),
    "large": (pa.int64(), st.sampled_from([0, 5, -10**17, 10**18 - 1, 10**18, 2**62])),
    "float": (pa.float64(), FLOATS),
    "boolean": (pa.bool_(), st.booleans()),
    "timestamp": (pa.timestamp("us"),
                  st.integers(0, 200).map(lambda h: MOMENT + dt.timedelta(minutes=37 * h))),
    "moment": (pa.timestamp("us"),
               st.tuples(st.integers(0, 9), st.sampled_from([0, 500_000, 120_000, 123_456, 1]))
               .map(lambda at: MOMENT + dt.timedelta(hours=7 * at[0], microseconds=at[1]))),
    "date": (pa.date32(), st.integers(0, 9).map(lambda d: MOMENT.date() + dt.timedelta(days=d))),
}


def text_of(value) -> str:
    "A value as Python writes it; truth values without their capital."
    return str(value).lower() if isinstance(value, bool) else str(value)


@st.composite
def columns(draw, rows: int):
    "Kind and cells of a column; at least one cell is there, for a column without any has no type in a text."
    kind = draw(st.sampled_from(list(KINDS)))
    some = draw(st.lists(KINDS[kind][1], min_size=1, max_size=8))
    gaps = [None] * draw(st.sampled_from([0, 0, 1, 2]))
    shift = draw(st.integers(1, 12)) # rows repeat the values, out of step with other columns
    values = [*some, *gaps]
    cells = [values[(i * i + i // shift) % len(values)] for i in range(rows)]
    cells[draw(st.integers(0, rows - 1))] = some[0]
    return kind, cells


# ---- expressions over columns of known kinds, most of which mean something

def expressions(names: dict[str, str]):
    "Strategies for numbers, texts, truth values and times made of columns, by name and kind."
    def of(*kinds: str) -> list[str]: return [n for n, k in names.items() if k in kinds]
    every, numbers = list(names), of("integer", "float", "code", "large")
    texts, times = of("text", "word", "code", "day"), of("timestamp", "moment", "date", "day")
    pick = lambda some: st.sampled_from(some or every)
    number_leaf = st.one_of(pick(numbers), pick(numbers), st.sampled_from(["0", "1", "3", "-2", "2.5", "10"]))
    text_leaf = st.one_of(pick(texts), pick(every), st.sampled_from(["'a'", "''", "'7'", "'x_y'", "'NA'"]))
    time_leaf = st.one_of(pick(times), pick(times),
                          st.sampled_from(["DATE '2024-02-29'", "TIMESTAMP '2024-03-01 10:00:00'"]))
    truth_leaf = st.one_of(st.sampled_from(of("boolean") or ["FALSE"]), st.sampled_from(["TRUE", "1 = 1"]),
        pick(every).map("{} IS NULL".format), pick(every).map("{} IS NOT NULL".format))

    def grown(depth: int):
        if not depth: return number_leaf, text_leaf, time_leaf, truth_leaf
        n, t, m, b = grown(depth - 1)
        plain = lambda shape, *parts: st.tuples(*parts).map(lambda values: shape.format(*values))
        number = st.one_of(number_leaf,
                           plain("({} {} {})", n, st.sampled_from(["+", "-", "*", "/", "//", "%"]), n),
                           plain("{}({})",
                                 st.sampled_from(["FLOOR", "ABS", "ROUND", "SQRT", "LN", "CEIL", "SIGN",
                                                  "-"]), n),
                           plain("LENGTH({})", t),
                           plain("CASE WHEN {} THEN {} ELSE {} END", b, n, n),
                           plain("COALESCE({}, {})", n, n),
                           plain("NULLIF({}, {})", n, n),
                           plain("EXTRACT({} FROM {})",
                                 st.sampled_from(["HOUR", "DOW", "DAY", "MONTH", "EPOCH"]), m),
                           plain("DATE_DIFF('day', {}, {})", m, m),
                           plain("GREATEST({}, {})", n, n), plain("CAST({} AS INTEGER)", n | b),
                           plain("TRY_CAST({} AS {})", t, st.sampled_from(["INTEGER", "DOUBLE"])),
                           plain("STRPOS({}, {})", t, t), plain("IF({}, {}, {})", b, n, n))
        text = st.one_of(text_leaf, plain("CONCAT({}, '_', {})", t | n, t), plain("({} || {})", t | n, t),
            plain("SUBSTR({}, {}, 2)", t, st.sampled_from(["1", "2", "9"])),
                         plain("{}({})", st.sampled_from(["UPPER", "LOWER", "TRIM", "REVERSE"]), t),
                         plain("COALESCE({}, {})", t, t),
                         plain("LEFT({}, 1)", t | n),
                         plain("CASE WHEN {} THEN {} ELSE {} END", b, t, t),
                         plain("CASE WHEN {} THEN {} END", b, t | n),
                         plain("NULLIF({}, {})", t, t),
                         plain("REPLACE({}, 'a', '')", t), plain("REGEXP_REPLACE({}, '[0-9]', '#', 'g')", t),
                         plain("REGEXP_EXTRACT({}, '[a-z]+')", t),
                         plain("LPAD({}, 3, '0')", t | n), plain("CAST({} AS VARCHAR)", n | m | b),
                         plain("STRFTIME({}, '%Y-%m')", m),
                         plain("SPLIT_PART({}, '_', 2)", t),
                         plain("CONCAT_WS('|', {}, {})", t, t | n), plain("IF({}, {}, {})", b, t, t))
        time = st.one_of(time_leaf, plain("DATE_TRUNC('{}', {})", st.sampled_from(["day", "hour", "month"]),
                                          m),
            plain("CAST({} AS TIMESTAMP)", m), plain("CAST({} AS DATE)", m),
                         plain("({} + INTERVAL 90 MINUTE)", m), plain("COALESCE({}, {})", m, m),
                         plain("TRY_STRPTIME({}, '%Y-%m-%d')", t),
                         plain("CASE WHEN {} THEN {} END", b, m))
        compared = st.sampled_from(["=", "<>", "<", ">", "<=", ">=", "IS DISTINCT FROM"])
        truth = st.one_of(truth_leaf, plain("({} {} {})", n, compared, n),
                          plain("({} {} {})", t, compared, t),
            plain("({} {} {})", m, compared, m), plain("({} {} {})", t, compared, n),
                          plain("({} AND {})", b, b), plain("({} OR {})", b, b), plain("(NOT {})", b),
                          plain("({} IN ({}, {}))", n, n, n),
                          plain("({} NOT IN ({}, 'a'))", t, t),
                          plain("({} BETWEEN {} AND {})", n, n, n),
                          plain("({} BETWEEN '2024-02-28' AND '2024-03-01')", m),
                          plain("({} LIKE '%a%')", t), plain("({} NOT LIKE '_')", t),
                          plain("REGEXP_MATCHES({}, '^[0-9]+$')", t), plain("({} IS NULL)", n | t | m),
                          plain("({} IS NOT NULL)", n | t | m), plain("STARTS_WITH({}, {})", t, t))
        return number, text, time, truth
    n, t, m, b = grown(2)
    return {"number": n, "text": t, "time": m, "truth": b, "any": n | t | m | b}


@st.composite
def cases(draw):
    "Columns of a table, a card over them, and how a text writes a missing cell."
    rows = draw(st.integers(24, 60))
    names = [f"c{i}" for i in range(draw(st.integers(2, 4)))]
    table = {name: draw(columns(rows)) for name in names}
    labels = draw(st.sampled_from(["integer", "boolean"]))
    table["y"] = labels, [(bool if labels == "boolean" else int)((i * 7 // 3 + i // 5) % 2)
                          for i in range(rows)]
    kinds = {name: table[name][0] for name in names}
    sql = expressions({n: kinds[n] for n in names[1:]}) # the label leaves c0 for the fields
    entries = {"label": draw(st.one_of(st.sampled_from(["y", "y = 1",
                                                        "NOT y" if labels == "boolean" else "y <> 1"]),
        sql["truth"].map("CASE WHEN {} THEN y = 1 ELSE y <> 1 END".format)))}
    if draw(st.booleans()):
        entries["where"] = draw(st.one_of(sql["truth"].map("{} OR y = 1 OR c1 IS NULL".format),
        sql["truth"].map("COALESCE({}, TRUE)".format), sql["truth"]))
    free = [n for n in names if not re.search(rf"\b{n}\b", entries["label"])] or names
    own = expressions({n: kinds[n] for n in free})
    entries["fields"] = [draw(st.sampled_from(free)),
                         *({f"f{i}": draw(own["any"])} for i in range(draw(st.integers(1, 3))))]
    if draw(st.booleans()):
        entries["fields"].append({"bins": {"sql": draw(own["number"]), "bins": draw(st.integers(2, 5))}})
    if whole := [n for n in free if kinds[n] == "integer"]:
        entries["fields"].append({"mapped": {"column": draw(st.sampled_from(whole)),
        "transform": "criteo_integer"}})
    if draw(st.integers(0, 3)) == 0:
        entries["types"] = {draw(st.sampled_from(names)): draw(st.sampled_from(["text", "text", "float",
        "integer", "timestamp"]))}
    way = draw(st.sampled_from(["random", "random", "time", "cuts", "group", "column"]))
    if way in ("time", "cuts"):
        entries["split_time"] = draw(own["time"] | own["number"] | st.sampled_from(free))
    if way == "cuts":
        entries["split_cuts"] = draw(st.sampled_from([["2024-02-28", "2024-02-29 12:00"], [1, 4],
        ["2024-03-01", "2024-02-01"]]))
    if way == "group": entries["split_group"] = draw(own["text"] | st.sampled_from(free))
    if way == "column":
        table["part"] = "word", [["train", "valid", "train", "test", "Training"][i * 3 // 2 % 5]
                                 for i in range(rows)]
        entries["split_column"] = draw(st.sampled_from(["part", "part", "LOWER(part)",
                                                        "COALESCE(part, 'test')"]))
    entries |= {"min_count": draw(st.integers(1, 4)),
                "split": draw(st.sampled_from([(.5, .25, .25), (.34, .33, .33)])),
        "split_seed": draw(st.integers(0, 3))}
    if draw(st.booleans()): entries["vocabulary"] = draw(st.sampled_from(["all", "train"]))
    nulls = draw(st.sampled_from([(), (), ("NA",), ("NA", "-"), ("-1", "0"), ("a", "2.5"),
                                  ("2024-02-29", "true")]))
    gap = draw(st.sampled_from(["", *nulls]))
    return table, entries | {"null_values": nulls}, gap


# ---- the same rows in files of several kinds

def written(table: dict, gap: str, place: Path) -> dict[str, tuple[str, Path]]:
    "What a variant is called -> the card's format, and the file or folder."
    names, cells = list(table), {n: ["" if v is None else text_of(v) for v in values]
                                 for n, (_, values) in table.items()}
    sources = {}
    for kind, mark in ("csv", ","), ("tsv", "\t"):
        writer = csv.writer(text := io.StringIO(newline=""), delimiter=mark, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(zip(*([t or gap for t in cells[n]] for n in names), strict=True))
        (place / f"t.{kind}").write_bytes(text.getvalue().encode())
        sources[kind] = kind, place / f"t.{kind}"
    (place / "t.csv.gz").write_bytes(gzip.compress((place / "t.csv").read_bytes()))
    sources["gzip"] = "csv", place / "t.csv.gz"
    typed = pa.table({n: pa.array(values, KINDS[kind][0], from_pandas=False)
                      for n, (kind, values) in table.items()})
    pq.write_table(typed, place / "typed.parquet")
    pq.write_table(pa.table({n: pa.array([t or None for t in cells[n]], pa.string()) for n in names}),
                   place / "text.parquet")
    cut, folder = typed.num_rows // 3, place / "parts"
    folder.mkdir()
    pq.write_table(typed.slice(0, cut), folder / "part-0.parquet")
    pq.write_table(typed.slice(cut).select(names[::-1]), folder / "part-1.parquet")
    return sources | {"typed": ("parquet", place / "typed.parquet"),
                      "text": ("parquet", place / "text.parquet"),
                      "parts": ("parquet", folder)}


def outcome(entries: dict, kind: str, source: Path, out: Path) -> dict | str:
    """What comes of a card and a file: arrays, vocabulary and sizes; or the sentence, without its file and
    line."""
    try:
        data = encode(Card(name="t", format=kind, quotes=True, **entries), source, out)
        schema = json.loads((out / "schema.json").read_text())
        return {"x": np.load(out / "x.npy").tolist(), "y": np.load(out / "y.npy").tolist(),
            "vocabulary": pl.read_parquet(out / "vocabulary.parquet").rows(),
                "sizes": [len(p) for p in (data.train, data.valid, data.test)],
                "order": schema["permutation"],
                "fields": schema["fields"],  "time": schema.get("time")}
    except InputError as err:
        assert not out.exists()
        message = re.sub(r" in (line|row) [\d,]+ of \S+?(?=[ ,):;]|\.? |$)", " HERE", str(err))
        wrong = re.search("has a label that must be 0 or 1|the label, 'y', must be 0 or 1 and is neither",
            message) # a text's rows are looked at as they come
        return "the column of labels has others" if wrong else message


def agree(case: tuple[dict, dict, str]) -> str:
    "Hold all files of a case against the first; whether it was encoded."
    table, entries, gap = case
    with TemporaryDirectory() as folder:
        place = Path(folder)
        outcomes = {name: outcome(entries, kind, source, place / f"out-{name}")
                    for name, (kind, source) in written(table, gap, place).items()}
    first = outcomes.pop("csv")
    for name, other in outcomes.items():
        if isinstance(first, dict) and isinstance(other, dict):
            for what in first: assert other[what] == first[what], (name, what)
        assert other == first, name
    return "encoded" if isinstance(first, dict) else first


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(cases())
def test_same_rows_same_meaning(case): assert agree(case)


# ---- and by hand, what once differed or easily could

HOURS = [MOMENT + dt.timedelta(minutes=37 * i) for i in range(40)]
BY_HAND = {
    "s": ("text", ["a", "b", None, "7"] * 10), "n": ("integer", [1, 12, 3, None, 5] * 8),
    "x": ("float", [-0.0, .5, 2.5, math.nan, -3.0, 1e20, math.inf, None] * 5),
    "t": ("timestamp", HOURS),
    "m": ("moment", [h + dt.timedelta(milliseconds=i % 3 * 250) for i, h in enumerate(HOURS)]),
    "z": ("float", [math.nan, None, None, math.nan] * 10),
    "d": ("date", [h.date() for h in HOURS]), "b": ("boolean", [True, False, None, True] * 10),
    "y": ("integer", [i * 7 // 3 % 2 for i in range(40)])}
COMPUTED = """
COALESCE(SUBSTR(n, 9), s)
CONCAT(z, s)
COALESCE(z, n)
COALESCE(z, s)
z IS NULL OR b
SUBSTR(m, 18) || s
CONCAT(m, s)
LENGTH(m) + n
COALESCE(m, t)
CASE WHEN b THEN m ELSE s END
EPOCH(m) || s
m > t
STRFTIME(m, '%f') || s
CONCAT(m + INTERVAL 1 HOUR, s)
REVERSE(m)
SUBSTR(n, 9) || s
SUBSTR(n, 9) = SUBSTR(s, 9)
CONCAT(x * 1, s)
ROUND(x) || s
ATAN2(x * 1, 1 - n)
1 / (x * -1) > n
CASE WHEN b THEN n ELSE x END
n = s
b = n
b = s
DATE_DIFF('day', d, t)
x // n
n % x
TRY_CAST(x AS INTEGER)
TRY_CAST(s AS INTEGER)
CAST(b AS INTEGER) + n
CONCAT(x + 0, s)
CONCAT(DATE_TRUNC('day', t), s)
CONCAT(d + 1, s)
CONCAT(NOT b, s)
NULLIF(n, s)
CASE WHEN n > 3 THEN t ELSE s END
LENGTH(x + 1)
REVERSE(t)
ROUND(x, n)
LPAD(s, n, '0')
EPOCH(t) || s
CONCAT(TO_TIMESTAMP(n), s)
t + to_days(n)
IF(b, t, d)
COALESCE(NULLIF(b, TRUE), n > 3)
x BETWEEN n AND 7
(n || '%') LIKE s
CAST(n AS DECIMAL(4, 1)) || s
STRPTIME(CONCAT(d, ' 10'), '%Y-%m-%d %H') < t
POSITION('a' IN s)
CASE n WHEN 1 THEN 'a' WHEN 12 THEN x END
""".strip().splitlines()


def test_by_hand():
    fields = [{sql: sql} for sql in COMPUTED]
    for way in {}, {"split_time": "t"}, {"null_values": ["12", "a", "-3.0"]}:
        assert agree((BY_HAND, {"label": "y", "fields": fields, "split": (.5, .25, .25)} | way,
                      "")) == "encoded"


@pytest.mark.parametrize("sql, message", [("NOT b", "a text for a truth value"), ("n + 1", "no values"),
    ("EXTRACT(HOUR FROM t)", "no values"), ("COALESCE(n, s)", "encoded"), ("COALESCE(n, 3)", "encoded"),
                                       ("COALESCE(b, TRUE)", "encoded")])
def test_columns_without_a_value(sql, message):
    "A column without a value is a text without one, also where its file says that it would be a number."
    table = BY_HAND | {n: (BY_HAND[n][0], [None] * 40) for n in "nbt"}
    assert message in agree((table, {"label": "y", "fields": ["s", {"f": sql}], "split": (.5, .25, .25),
                                     "null_values": ()}, ""))


@pytest.mark.parametrize("sql", ["STRFTIME(t, '%a') + n", "CAST(CONCAT(SUBSTR(t, 1, 4), s) AS INTEGER)",
                                 "d < CONCAT(n, s)",
                                 "n * 900000000000000000 * (n + LENGTH(s))"])
def test_sentences(sql):
    "What cannot be computed is told with the table's own columns and cells."
    message = agree((BY_HAND, {"label": "y", "fields": ["b", {"f": sql}], "split": (.5, .25, .25),
                               "null_values": ()}, ""))
    assert message.startswith("the field 'f'") and "\0" not in message
    assert "cannot be computed HERE, where " in message
