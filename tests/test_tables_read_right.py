"""What a table means, counted in plain Python: rows kept, ones, (rows, ones) of each value; or the sentence
that refuses it."""
import csv
import datetime as dt
import gzip
import io
import itertools
import json
import math
import random
import re
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from collapse_nb.data.cards import Card
from collapse_nb.data.encode import encode
from collapse_nb.records import InputError

SHARES = .6, .2, .2 # of train, valid and test
KINDS = "csv", "parquet"
MORE_KINDS = "csv", "tsv", "csv.gz", "parquet"


# ---- rows, files of them, and what comes out

def rows_of(n: int = 400, seed: int = 0) -> list[dict]:
    "Rows with everything that is easily read wrong."
    dice = random.Random(seed)
    start, rows = dt.datetime(2024, 3, 1), []
    for i in range(n):
        hour = dice.randrange(24)
        rows.append({
            "y": dice.random() < .3, "site": f"s{min(int(dice.expovariate(.6)), 5)}",
            "code": dice.choice(["007", "07", "7", "12"]),
            "zip": dice.choice(["00050", "00501", "12345"]),
            "hhmm": f"{hour:02}{dice.randrange(60):02}", "flagged": dice.randrange(2),
            "score": dice.randrange(1, 40) / 8,
            "member": dice.random() < .6,
            "rating": math.nan if i % 9 == 4 else dice.randrange(2, 11) / 2,
            "price": None if i % 7 == 3 else dice.randrange(1, 60) / 4,
            "lab": dice.choice([-1, 0, 1, 1]),
            "dev": dice.choice(["d0", "d1", "d2", "d3"]),
            "when": start + dt.timedelta(days=dice.randrange(9), hours=hour,
            seconds=dice.randrange(3600)), "n": i})
    return [r | {"y": int(r["y"])} for r in rows]


ROWS = rows_of()


def text_of(value) -> str:
    if value is None: return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def write(path: Path, rows: list[dict], names: list[str] | None = None, header: bool = True) -> Path:
    "Rows in a file whose kind its name tells; `names` instead of their own, even twice."
    names = names or list(rows[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_arrays([pa.array([r[k] for r in rows], from_pandas=False)
                                             for k in rows[0]], names=names), path)
        return path
    writer = csv.writer(text := io.StringIO(newline=""), delimiter="\t" if ".tsv" in path.name else ",",
                        lineterminator="\n")
    if header: writer.writerow(names)
    writer.writerows([text_of(v) for v in r.values()] for r in rows)
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def card_of(kind: str, **entries) -> Card:
    return Card(**{"name": "t", "label": "y", "fields": ["site"], "split": SHARES,
                   "format": kind.removesuffix(".gz")} | entries)


class Result:
    "An encoded folder, by the values of its vocabulary."
    def __init__(self, out: Path, data):
        parts = (data.train, data.valid, data.test)
        self.schema = json.loads((out / "schema.json").read_text())
        self.D = dict(zip(data.schema.names, data.schema.cardinalities, strict=True))
        x, self.y, self.sizes = (np.concatenate([p.x for p in parts]), np.concatenate([p.y for p in parts]),
                                 [len(p) for p in parts])
        self.part = np.repeat([0, 1, 2], self.sizes)
        words = pl.read_parquet(out / "vocabulary.parquet")
        texts = {n: dict(words.filter(field=n).select("id", "value").iter_rows()) for n in self.D}
        self.rows = [dict(zip(self.D, (texts[n].get(int(i), OTHER) for n, i in zip(self.D, row, strict=True)),
                              strict=True)) for row in x]

    def numbers(self) -> dict:
        values = {n: Counter() for n in self.D}
        for row, y in zip(self.rows, self.y, strict=True):
            for n, v in row.items(): values[n][v, int(y)] += 1
        return {"rows": len(self.y), "ones": int(self.y.sum()), "D": self.D, "values": values}


OTHER = "everything else"


def plain(rows: list[dict], label, where, fields: dict) -> dict:
    "The numbers that are right."
    kept = [r for r in rows if where(r)]
    values = {n: Counter((f(r), int(label(r))) for r in kept) for n, f in fields.items()}
    return {"rows": len(kept), "ones": sum(int(label(r)) for r in kept), "values": values,
        "D": {n: len({v for v, _ in c}) + 1 for n, c in values.items()}}


def encoded(source, out: Path, kind: str, **entries) -> Result:
    return Result(out, encode(card_of(kind, **entries), source, out))


def refused(source, out: Path, kind: str, *parts: str, **entries) -> str:
    "The one sentence, which has all these parts; nothing is left."
    before = sorted(out.parent.rglob("*"))
    with pytest.raises(InputError) as error: encode(card_of(kind, **entries), source, out)
    sentence = str(error.value)
    assert sorted(out.parent.rglob("*")) == before
    assert "\n" not in sentence and sentence.endswith(".") and len(sentence) < 450, sentence
    for part in parts: assert part in sentence, (part, sentence)
    return sentence


# ---- what is right

y = lambda r: r["y"] == 1
every = lambda r: True
number = lambda f: f"{f:.1f}" if f == int(f) else str(f)
nan = lambda r: r["rating"] != r["rating"]
RIGHT = { # card, label, where, fields
    "where-number": ({"where": "flagged = 1"}, y, lambda r: r["flagged"] == 1, {"site": lambda r: r["site"]}),
    "where-truth": ({"where": "member"}, y, lambda r: r["member"], {"site": lambda r: r["site"]}),
    "where-or": ({"where": "member OR score > 4"}, y, lambda r: r["member"] or r["score"] > 4,
                 {"site": lambda r: r["site"]}),
    "where-missing": ({"where": "price > 5"}, y, lambda r: (r["price"] or 0) > 5,
                      {"site": lambda r: r["site"]}),
    "where-not-missing": ({"where": "NOT price > 5"}, y, lambda r: r["price"] is not None and r["price"] <= 5,
    {"site": lambda r: r["site"]}),
    "label-truth": ({"label": "member"}, lambda r: r["member"], every, {"site": lambda r: r["site"]}),
    "label-number": ({"label": "flagged"}, lambda r: r["flagged"], every, {"site": lambda r: r["site"]}),
    "constants": ({"fields": {"bias": "1", "word": "'x'", "site": "site"}}, y, every,
    {"bias": lambda r: "1", "word": lambda r: "x", "site": lambda r: r["site"]}),
    "nan-where": ({"where": "rating > 3"}, y, lambda r: r["rating"] > 3, {"site": lambda r: r["site"]}),
    "nan-label": ({"label": "rating > 3", "where": "rating IS NOT NULL"}, lambda r: r["rating"] > 3,
                  lambda r: not nan(r),
    {"site": lambda r: r["site"]}),
    "nan-field": ({"fields": {"rating": "rating", "high": "CASE WHEN rating > 3 THEN 'high' ELSE 'low' END",
                              "gone": "rating IS NULL",
    "or": "COALESCE(rating, 0)", "twice": "rating * 2"}}, y, every,
                  {"rating": lambda r: None if nan(r) else str(r["rating"]), "high": lambda r: "high"
                   if r["rating"] > 3 else "low",
                  "gone": lambda r: text_of(nan(r)),
                   "or": lambda r: "0.0" if nan(r) else str(r["rating"]), "twice": lambda r: None
                   if nan(r) else str(r["rating"] * 2)}),
    "nulls-text": ({"null_values": ["d0"], "where": "dev IS NOT NULL", "fields": ["dev", "site"]}, y,
                   lambda r: r["dev"] != "d0",
    {"dev": lambda r: r["dev"], "site": lambda r: r["site"]}),
    "nulls-number": ({"null_values": ["-1"], "label": "lab = 1", "where": "lab IS NOT NULL"},
                     lambda r: r["lab"] == 1,
    lambda r: r["lab"] >= 0, {"site": lambda r: r["site"]}),
    "nulls-label": ({"null_values": ["-1"], "label": "lab", "where": "lab IS NOT NULL"}, lambda r: r["lab"],
                    lambda r: r["lab"] >= 0,
    {"site": lambda r: r["site"]}),
    "nulls-field": ({"null_values": ["-1", "d3", "2.5"],
                     "fields": {"lab": "lab", "next": "lab + 1", "dev": "COALESCE(dev, 'none')",
    "rating": "rating"}}, y, every,
                    {"lab": lambda r: None if r["lab"] < 0 else str(r["lab"]),
                    "next": lambda r: None if r["lab"] < 0 else str(r["lab"] + 1),
                     "dev": lambda r: "none" if r["dev"] == "d3" else r["dev"],
                     "rating": lambda r: None if nan(r) or r["rating"] == 2.5 else str(r["rating"])}),
    "zeros-text": ({"fields": {"code": "code", "pair": "CONCAT(code, '_', site)",
                               "known": "COALESCE(code, 'none')",
    "area": "SUBSTR(zip, 1, 3)", "hour": "SUBSTR(CAST(hhmm AS VARCHAR), 1, 2)",
                               "here": "CASE WHEN zip = '00050' THEN 1 ELSE 0 END"}}, y, every,
                   {"code": lambda r: r["code"], "pair": lambda r: f"{r['code']}_{r['site']}",
                    "known": lambda r: r["code"],
                   "area": lambda r: r["zip"][:3], "hour": lambda r: r["hhmm"][:2],
                    "here": lambda r: str(int(r["zip"] == "00050"))}),
    "zeros-number": ({"fields": {"hour": "FLOOR(hhmm / 100)", "next": "code + 1", "half": "hhmm // 200",
                                 "length": "LENGTH(code)"}}, y,
    every,
                     {"hour": lambda r: f"{int(r['hhmm']) // 100}.0",
                      "next": lambda r: str(int(r["code"]) + 1),
                     "half": lambda r: str(int(r["hhmm"]) // 200), "length": lambda r: str(len(r["code"]))}),
    "zeros-label": ({"label": "code = '7'"}, lambda r: r["code"] == "7", every,
                    {"site": lambda r: r["site"]}),
    "zeros-label-number": ({"label": "code = 7"}, lambda r: int(r["code"]) == 7, every,
                           {"site": lambda r: r["site"]}),
    "zeros-where": ({"where": "code IN ('007', '12') AND hhmm < 1200"}, y,
                    lambda r: r["code"] in ("007", "12") and int(r["hhmm"]) < 1200,
    {"site": lambda r: r["site"]}),
    "times-field": ({"fields": {"a": "EXTRACT(HOUR FROM when)",
                                "b": "EXTRACT(HOUR FROM CAST(when AS TIMESTAMP))",
    "c": "EXTRACT(HOUR FROM when::timestamp)", "day": "CAST(when AS DATE)",
                                "dow": "EXTRACT(DOW FROM when)", "text": "SUBSTR(when, 1, 10)",
                                "past": "DATE_DIFF('day', DATE '2024-03-01', when)"}}, y, every,
                    {**dict.fromkeys("abc", lambda r: str(r["when"].hour)),
                     "day": lambda r: str(r["when"].date()),
                    "dow": lambda r: str(r["when"].isoweekday() % 7),
                     "text": lambda r: str(r["when"])[:10],
                     "past": lambda r: str((r["when"].date() - dt.date(2024, 3, 1)).days)}),
    "times-where": ({"where": "when < '2024-03-05'"}, y, lambda r: r["when"] < dt.datetime(2024, 3, 5),
                    {"site": lambda r: r["site"]}),
    "times-label": ({"label": "EXTRACT(HOUR FROM when) >= 12",
                     "where": "when BETWEEN '2024-03-02' AND '2024-03-06 12:00:00'"},
    lambda r: r["when"].hour >= 12,
                    lambda r: dt.datetime(2024, 3, 2) <= r["when"] <= dt.datetime(2024, 3, 6, 12),
                    {"site": lambda r: r["site"]}),
    "words-in-texts": ({"fields": {"f": "CASE WHEN site = 'over (60)' THEN 'max (5)' ELSE site END"}}, y,
                       every,
    {"f": lambda r: r["site"]}),
    "decimals": ({"fields": {"score": "score", "price": "price", "sum": "score + 1",
                             "whole": "FLOOR(score)"}}, y, every,
                 {"score": lambda r: str(r["score"]), "price": lambda r: None
                  if r["price"] is None else str(r["price"]),
                 "sum": lambda r: number(r["score"] + 1), "whole": lambda r: f"{r['score'] // 1:.1f}"}),
}


def quoted_when(entries: dict) -> dict:
    "`when` is a word of SQL, so as a column it goes in double quotes."
    fix = lambda sql: re.sub(r"\bwhen\b", '"when"', sql)
    fields = entries.get("fields", ["site"])
    return {k: fix(v) if isinstance(v, str) else v
            for k, v in entries.items()} | {"fields": {k: fix(v) for k, v in fields.items()}
        if isinstance(fields, dict) else fields}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    place = tmp_path_factory.mktemp("files")
    return {kind: write(place / f"t.{kind}", ROWS) for kind in MORE_KINDS}


@pytest.mark.parametrize("kind", MORE_KINDS)
@pytest.mark.parametrize("name", RIGHT)
def test_right(tmp_path, files, name, kind):
    entries, *meant = RIGHT[name]
    assert encoded(files[kind], tmp_path / "out", kind,
                   **quoted_when(entries)).numbers() == plain(ROWS, *meant)


# ---- what is refused

GONE = sum(map(nan, ROWS))
MANY = ["AVG", "STDEV", "STDDEV_SAMP", "VAR_POP", "CORR", "COVAR_SAMP", "STRING_AGG", "LISTAGG", "SUM",
        "COUNT", "MAX", "MEDIAN", "MODE",
    "FIRST", "ANY_VALUE", "ARRAY_AGG", "BOOL_OR", "APPROX_QUANTILE"]
UNKNOWN = ["RANDOM", "NOW", "UUID", "READ_CSV", "GETENV", "HASH", "NEXTVAL", "UNNEST", "LIST_VALUE",
           "SETSEED", "CURRENT_SETTING"]
REFUSED = {
    "where-number": (("where", "'flagged'", "flagged = 1"), {"where": "flagged"}),
    "where-decimal": (("where", "'score'"), {"where": "score"}),
    "where-text": (("where", "'site'"), {"where": "site"}),
    "where-false": (("no rows are left",), {"where": "FALSE"}),
    "where-null": (("no rows are left",), {"where": "NULL"}),
    "where-constant": (("no rows are left",), {"where": "1 = 2"}),
    "nan": (("the label", "rating > 3", f"in {GONE} of {len(ROWS)} rows", "missing", "where"),
            {"label": "rating > 3"}),
    "nulls": (("the label", "lab = 1", f"in {sum(r['lab'] < 0 for r in ROWS)} of {len(ROWS)} rows",
               "missing"),
    {"label": "lab = 1", "null_values": ["-1"]}),
    "label-number": (("the label", "'lab + 3'", "must be 0 or 1"), {"label": "lab + 3"}),
    "no-column": (("the field 'f'", "skore", "did you mean 'score'"), {"fields": {"f": "skore + 1"}}),
    "leak": (("the field 'f'", "'price'"), {"label": "price > 3", "where": "price IS NOT NULL",
                                            "fields": {"f": "FLOOR(price)"}}),
    "text-as-number": (("the field 'f'", "site / 10", "'site'", "number", "'s"),
                       {"fields": {"f": "site / 10"}}),
    "text-as-time": (("the field 'f'", "EXTRACT(HOUR FROM site)", "'site'", "time"),
                     {"fields": {"f": "EXTRACT(HOUR FROM site)"}}),
    "empty-field": (("the field 'f'", "missing in all rows"), {"fields": {"f": "NULLIF(site, site)"}}),
    "type": (("'site'", "integer", "types"), {"types": {"site": "integer"}}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path, files, name, kind):
    messages, entries = REFUSED[name]
    assert refused(files[kind], tmp_path / "out", kind, *messages, **entries)


@pytest.mark.parametrize("name", MANY + UNKNOWN)
def test_functions_by_name(name):
    "In the label, in where, in a field and in the ways to split, while no table is there."
    call = f"{name}(score)"
    for entry in "label", "where", "split_time", "split_group", "split_column":
        with pytest.raises(InputError, match=f"{entry}.*{name}") as error:
            card_of("csv", **{entry: f"{call} > 3"})
        assert ("over many rows" in str(error.value)) == (name in MANY), error.value
    with pytest.raises(InputError, match=f"the field 'f'.*{name}"): card_of("csv", fields={"f": call})
    with pytest.raises(InputError, match=f"the field 'f'.*{name}"): card_of("csv",
        fields={"f": f"CASE WHEN site = 'a' THEN 1 ELSE {call} OVER () END"})


@pytest.mark.parametrize("kind", MORE_KINDS)
@pytest.mark.parametrize("cell, remedy", [("N/A", 'null_values = ["N/A"]'), ("1,200", "mend the cell"),
                                          ("\\N", 'null_values = ["\\\\N"]'),
    ("n.a.?", "mend the cell")])
@pytest.mark.parametrize("entry", ["field", "label", "where"])
def test_message(tmp_path, kind, cell, remedy, entry):
    "Which field, which expression, which column, the first bad cell, where it stands, and what to do."
    at = 137
    rows = [r | {"v17": cell if i in (at, at + 60) else str(i % 30)} for i, r in enumerate(ROWS)]
    source = write(tmp_path / f"t.{kind}", rows)
    sql = "v17 / 10 > 1"
    entries = {"field": {"fields": {"speed": sql}}, "label": {"label": sql}, "where": {"where": sql}}[entry]
    place = f"row {at + 1} of" if kind == "parquet" else f"line {at + 2} of"
    refused(source, tmp_path / "out", kind, {"field": "the field 'speed'", "label": "the label",
                                             "where": "where"}[entry], repr(sql),
        "'v17'", repr(cell), place, remedy, **entries)
    if "null_values" in remedy: # and the remedy helps
        fields = {"f": "v17 / 10 > 1"}
        meant = {"f": lambda r: None if r["v17"] == cell else text_of(int(r["v17"]) > 10)}
        assert encoded(source, tmp_path / "out", kind, fields=fields,
                       null_values=[cell]).numbers() == plain(rows, y, every, meant)


# ---- texts: quotes, headers, names, R

@pytest.mark.parametrize("kind", ["tsv", "csv"])
@pytest.mark.parametrize("ends", [1, 13, 60])
def test_lone_quotes(tmp_path, kind, ends):
    """A quote that begins a cell and one that ends another, some lines on: refused with the first line, and
    read where the card says so."""
    mark, rows = {"csv": ",", "tsv": "\t"}[kind], [{"y": r["y"], "site": r["site"], "note": f"w{r['n'] % 5}"}
                                                   for r in ROWS]
    rows[7]["note"], rows[7 + ends]["note"] = '"hm', 'ok"'
    source = tmp_path / f"t.{kind}"
    source.write_text(mark.join(rows[0]) + "\n" + "".join(mark.join(map(str, r.values())) + "\n"
                                                          for r in rows))
    refused(source, tmp_path / "out", kind, "line 9", "quote", "quotes = false", fields=["site", "note"])
    meant = {"site": lambda r: r["site"], "note": lambda r: r["note"]}
    assert encoded(source, tmp_path / "out", kind, fields=["site", "note"],
                   quotes=False).numbers() == plain(rows, y, every, meant)


def test_cells_of_several_lines(tmp_path):
    "A quoted cell may hold line feeds, marks and doubled quotes."
    rows = [r | {"note": ["plain", "a,b", 'say "hi"', "two\nlines", "one\n\nthree"][r["n"] % 5]}
            for r in ROWS]
    rows = [{k: r[k] for k in ("y", "note", "site")} for r in rows]
    source = write(tmp_path / "t.csv", rows)
    assert encoded(source, tmp_path / "out", "csv",
                   fields=["note", "site"]).numbers() == plain(rows, y, every,
        {"note": lambda r: r["note"], "site": lambda r: r["site"]})


@pytest.mark.parametrize("kind", ["csv", "tsv", "csv.gz"])
@pytest.mark.parametrize("label, meant", [("ans <> 'NO'", lambda r: r["ans"] != "NO"),
                                          ("rating > 3", lambda r: r["rating"] > 3)])
@pytest.mark.parametrize("header", [True, False])
def test_header_where_none_belongs(tmp_path, kind, label, meant, header):
    "A header of exactly the card's columns is no row; and without one the first row counts."
    rows = [{"ans": "NO" if r["y"] else "YES", "rating": r["rating"], "site": r["site"]} for r in ROWS
            if not nan(r)]
    source = write(tmp_path / f"t.{kind}", rows, header=header)
    assert encoded(source, tmp_path / "out", kind, label=label,
                   columns=list(rows[0])).numbers() == plain(rows, meant, every,
        {"site": lambda r: r["site"]})


@pytest.mark.parametrize("kind", MORE_KINDS)
@pytest.mark.parametrize("name", ["Clicked on Ad", "order", "rating:float", 'say "hi"', "a-b", "ja/nein",
                                  "日本", "1st", "select", "AVG(x)",
    "true"])
def test_odd_label(tmp_path, kind, name):
    "A label that is exactly a column's name is that column; in an expression it goes in double quotes."
    rows = [{name: r["y"], "site": r["site"]} for r in ROWS]
    source, meant = write(tmp_path / f"t.{kind}", rows), plain(rows, lambda r: r[name] == 1, every,
                                                               {"site": lambda r: r["site"]})
    quoted = '"' + name.replace('"', '""') + '"'
    for i, label in enumerate([quoted, f"{quoted} = 1", f"CASE WHEN {quoted} > 0 THEN 1 ELSE 0 END"]):
        assert encoded(source, tmp_path / f"out{i}", kind, label=label).numbers() == meant
    if name not in ("AVG(x)", "true"):
        assert encoded(source, tmp_path / "out", kind, label=name).numbers() == meant
    if name in ("Clicked on Ad", "rating:float", "order", "select"):
        refused(source, tmp_path / "bare", kind, "the label", "double quotes",
        quoted, label=f"{name} > 0")


@pytest.mark.parametrize("named", [False, True])
def test_written_by_r(tmp_path, named):
    "R quotes texts and writes NA for what is missing."
    rows = [{"clicked": None if i in (41, 77) else r["y"], "rating": None if i % 8 == 6 else r["rating"]
             if r["rating"] == r["rating"]
        else 1.0, "site": r["site"]} for i, r in enumerate(ROWS)]
    cell = lambda v: "NA" if v is None else f'"{v}"' if isinstance(v, str) else str(v)
    (source := tmp_path / "t.csv").write_text('"clicked","rating","site"\n'
                                              + "".join(",".join(map(cell, r.values())) + "\n" for r in rows))
    first, site = next(i for i, r in enumerate(rows)
                       if r["rating"] is None) + 2, {"site": lambda r: r["site"]}
    if not named:
        refused(source, tmp_path / "out", "csv", "rating > 3", "'rating'", "'NA'", f"line {first} ",
                'null_values = ["NA"]',
            label="rating > 3")
        refused(source, tmp_path / "out", "csv", "clicked", "NA", "line 43", 'null_values = ["NA"]',
                label="clicked")
        return
    for label, column, one in ("rating > 3", "rating",
                               lambda r: r["rating"] > 3), ("clicked", "clicked", lambda r: r["clicked"]):
        refused(source, tmp_path / "out", "csv", label, "missing", label=label, null_values=["NA"])
        result = encoded(source, tmp_path / column, "csv", label=label, where=f"{column} IS NOT NULL",
                         null_values=["NA"])
        assert result.numbers() == plain(rows, one, lambda r, c=column: r[c] is not None, site)


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t", "t.dat.gz"])
def test_no_format(tmp_path, name):
    "A Parquet file says what it is."
    write(tmp_path / "made.parquet", ROWS).rename(tmp_path / name)
    if name.endswith(".gz"): (tmp_path / name).write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    data = encode(Card(name="t", label="y", fields=["site"]), tmp_path / name, tmp_path / "out")
    assert Result(tmp_path / "out", data).numbers() == plain(ROWS, y, every, {"site": lambda r: r["site"]})


@pytest.mark.parametrize("kind", MORE_KINDS)
def test_name_twice(tmp_path, kind):
    "It matters where it is used, and nowhere else."
    rows = [{k: r[k] for k in ("y", "site", "dev", "code")} for r in ROWS]
    source = write(tmp_path / f"t.{kind}", rows, ["y", "site", "dev", "dev"])
    ways = ({"fields": ["dev"]}, {"fields": {"f": "CONCAT(dev, site)"}}, {"where": "dev = 'd1'"},
            {"split_group": "dev"}, {"label": "dev"})
    for entries in ways:
        refused(source, tmp_path / "out", kind, "'dev'", "twice", **entries)
    result = encoded(source, tmp_path / "out", kind)
    assert result.numbers() == plain(rows, y, every, {"site": lambda r: r["site"]})


# ---- parts

@pytest.mark.parametrize("kind", MORE_KINDS)
def test_parts(tmp_path, kind):
    """Several files, a folder, a pattern, other orders of columns: one table, the same ids; and another card
    format is not needed."""
    cut, names = 150, ["y", "site", "dev", "when"]
    rows = [{n: r[n] for n in names} for r in ROWS]
    rows[3]["dev"], rows[-3]["dev"] = "first only", "last only"
    folder, turned = tmp_path / "day", tmp_path / "turned"
    first, second = write(folder / f"part-0.{kind}", rows[:cut]), write(folder / f"part-1.{kind}", rows[cut:])
    write(turned / f"part-0.{kind}", rows[:cut]), write(turned / f"part-1.{kind}",
                                                        [dict(reversed(r.items())) for r in rows[cut:]])
    for mark in "_SUCCESS", ".part-0.crc": (folder / mark).touch()
    sources = [write(tmp_path / f"whole.{kind}", rows), [first, second], folder, str(folder / "part-*"),
               [turned], str(tmp_path / "tu*")]
    fields = {"site": "site", "dev": "dev", "hour": 'EXTRACT(HOUR FROM "when")'}
    meant = plain(rows, y, every, {"site": lambda r: r["site"], "dev": lambda r: r["dev"],
                                   "hour": lambda r: str(r["when"].hour)})
    arrays = []
    for i, source in enumerate(sources):
        out = tmp_path / f"out{i}"
        assert encoded(source, out, kind, fields=fields).numbers() == meant
        arrays.append((np.load(out / "x.npy"), np.load(out / "y.npy")))
    for x, labels in arrays[1:]: assert (x == arrays[0][0]).all() and (labels == arrays[0][1]).all()
    lacking = write(tmp_path / "lacking" / f"part-1.{kind}", [{n: r[n] for n in ("y", "site")} for r in rows])
    refused([first, lacking], tmp_path / "out", kind, f"part-1.{kind}", "'dev'", "lacks",
            fields=["site", "dev"])
    # nobody asks for it
    assert encoded([first, lacking], tmp_path / "out", kind).numbers()["rows"] == cut + len(rows)


@pytest.mark.parametrize("kind", MORE_KINDS)
def test_folders_as_columns(tmp_path, kind):
    "`day=007` is a text of every row below; it may be a field, in where, in the label and the split."
    days = {"day=007/site=a%2Fb": ("007", "a/b"), "day=7/site=c": ("7", "c"),
            "day=12/site=__HIVE_DEFAULT_PARTITION__": ("12", None)}
    rows, third = [], len(ROWS) // 3
    for i, (name, (day, site)) in enumerate(days.items()):
        below = [{"y": r["y"], "dev": r["dev"]} for r in ROWS[i * third:(i + 1) * third]]
        write(tmp_path / "log" / name / f"p.{kind}", below)
        rows += [r | {"day": day, "site": site} for r in below]
    fields = {"day": "day", "site": "site", "next": "day + 1", "pair": "CONCAT(day, dev)"}
    meant = {"day": lambda r: r["day"], "site": lambda r: r["site"], "next": lambda r: str(int(r["day"]) + 1),
        "pair": lambda r: r["day"] + r["dev"]}
    expected = plain(rows, y, every, meant)
    assert sorted(expected["values"]["day"]) == sorted(itertools.product(["007", "7", "12"], [0, 1]))
    assert encoded(tmp_path / "log", tmp_path / "out", kind, fields=fields).numbers() == expected
    result = encoded(tmp_path / "log", tmp_path / "out2", kind, fields=["dev"], where="day <> '007'",
                     label="day = '7' AND y = 1")
    assert result.numbers() == plain(rows, lambda r: r["day"] == "7" and r["y"], lambda r: r["day"] != "007",
                                     {"dev": lambda r: r["dev"]})
    split = encoded(tmp_path / "log", tmp_path / "out3", kind, fields=["day"], vocabulary="all",
        split_column="CASE day WHEN '007' THEN 'train' WHEN '7' THEN 'valid' ELSE 'test' END")
    assert [{r["day"] for r, p in zip(split.rows, split.part, strict=True) if p == i}
            for i in range(3)] == [{"007"}, {"7"}, {"12"}]


# ---- splits

def log_of(n: int = 900, seed: int = 1) -> list[dict]:
    """A log in no order, with users, and ads that come up later; moments are hours, so that many rows share
    one."""
    dice, rows = random.Random(seed), []
    for i in range(n):
        when = dt.datetime(2024, 3, 1) + dt.timedelta(hours=dice.randrange(9 * 24))
        day = (when - dt.datetime(2024, 3, 1)).days
        rows.append({"y": int(dice.random() < .4), "user": f"u{dice.randrange(40)}",
                     "ad": f"a{dice.randrange(5 + day)}",
            "price": dice.randrange(1, 4000) / 8, "when": when, "n": str(i)})
    return rows


LOG = log_of()
BY_NUMBER = {r["n"]: r for r in LOG}
PARTS = "train", "valid", "test"


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    place = tmp_path_factory.mktemp("logs")
    return {kind: write(place / f"log.{kind}", LOG) for kind in KINDS}


def parts_of(result: Result) -> list[list[dict]]:
    "The rows of train, valid and test, by the field `n`, each exactly once."
    assert sorted(r["n"] for r in result.rows) == sorted(BY_NUMBER)
    return [[BY_NUMBER[r["n"]] for r, p in zip(result.rows, result.part, strict=True) if p == i]
            for i in range(3)]


def both(source, out: Path, kind: str, **entries) -> tuple[Result, list[list[dict]]]:
    """Encoded as the card says; and the rows of each part, by the same card with a row's number as a field
    and values of all rows."""
    result = encoded(source, out, kind, **{"fields": ["user", "ad"], **entries})
    numbered = encoded(source, out.with_name(out.name + "-n"), kind,
                       **entries | {"fields": ["n"], "vocabulary": "all", "min_count": 1})
    assert numbered.sizes == result.sizes and (numbered.y == result.y).all()
    parts = parts_of(numbered)
    for i, part in enumerate(parts): # the other fields are those of these rows
        numbers = [r["n"] for r, p in zip(numbered.rows, numbered.part, strict=True) if p == i]
        here = [r for r, p in zip(result.rows, result.part, strict=True) if p == i]
        for n, r in zip(numbers, here, strict=True):
            assert all(v in (OTHER, BY_NUMBER[n][k]) for k, v in r.items())
        assert len(part) == result.sizes[i]
    return result, parts


def check_vocabulary(result: Result, parts: list[list[dict]], min_count: int = 1) -> None:
    "Values with an id are those of enough training rows; whatever else occurs later is everything else."
    for field in "user", "ad":
        counts = Counter(r[field] for r in parts[0])
        words = {v for v, c in counts.items() if c >= min_count}
        assert result.D[field] == len(words) + 1
        for i, part in enumerate(parts):
            lost = sum(r[field] not in words for r in part)
            assert lost == sum(r[field] == OTHER for r, p in zip(result.rows, result.part, strict=True)
                               if p == i)
        unseen = sum(r[field] not in counts for r in parts[2])
        about, = (f for f in result.schema["fields"] if f["name"] == field)
        assert about["unseen"] == unseen
        assert any(f"of {field!r} that training never saw" in remark
                   for remark in result.schema["remarks"]) == (unseen > .01 * len(parts[2]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("min_count", [1, 8])
def test_in_time(tmp_path, logs, kind, min_count):
    """By fractions: no training row is later than a row of validation, rows of one moment stay together, and
    that is told."""
    result, parts = both(logs[kind], tmp_path / "out", kind, split_time='"when"', min_count=min_count)
    ordered = sorted(r["when"] for r in LOG)
    asked = [len(LOG) * 6 // 10, len(LOG) * 8 // 10]
    first, second = (ordered[k] for k in asked)
    assert [len(p) for p in parts] == [sum(t < first for t in ordered),
                                       sum(first <= t < second for t in ordered),
        sum(t >= second for t in ordered)]
    train, valid, test = ([r["when"] for r in p] for p in parts)
    assert max(train) < min(valid) and max(valid) < min(test) and min(valid) == first and min(test) == second
    assert result.sizes[0] != asked[0] and any("rows of one moment stay together" in r
        and f"{result.sizes[0]}, {result.sizes[1]}, {result.sizes[2]}" in r for r in result.schema["remarks"])
    assert result.schema["split"]["by"] == "time"
    assert (sum(result.schema["time"]["rows"]) == len(LOG)
            and sum(result.schema["time"]["ones"]) == sum(r["y"] for r in LOG))
    check_vocabulary(result, parts, min_count)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("time, cuts, part_of", [
    ('"when"', ["2024-03-07", "2024-03-08 12:00"],
     lambda r: (r["when"] >= dt.datetime(2024, 3, 7)) + (r["when"] >= dt.datetime(2024, 3, 8, 12))),
    ('CAST("when" AS DATE)', ["2024-03-06", "2024-03-08"],
     lambda r: (r["when"].day >= 6) + (r["when"].day >= 8)),
    ('EXTRACT(DAY FROM "when")', [5, 7], lambda r: (r["when"].day >= 5) + (r["when"].day >= 7)),
    ("price", [200, 300.5], lambda r: (r["price"] >= 200) + (r["price"] >= 300.5)),
    ("CAST(n AS INTEGER)", [500, 700], lambda r: (int(r["n"]) >= 500) + (int(r["n"]) >= 700))])
def test_cut(tmp_path, logs, kind, time, cuts, part_of):
    "By moments or numbers: validation begins with the first, test with the second."
    result, parts = both(logs[kind], tmp_path / "out", kind, split_time=time, split_cuts=cuts)
    for i, part in enumerate(parts):
        assert sorted(r["n"] for r in part) == sorted(r["n"] for r in LOG if part_of(r) == i)
    check_vocabulary(result, parts)


@pytest.mark.parametrize("kind", KINDS)
def test_by_group(tmp_path, logs, kind):
    """No user is in two parts; the sizes are told; the same seed gives the same split, and another seed
    another."""
    result, parts = both(logs[kind], tmp_path / "out", kind, split_group="user")
    users = [{r["user"] for r in p} for p in parts]
    assert not users[0] & users[1] and not users[0] & users[2] and not users[1] & users[2] and all(users)
    largest = max(Counter(r["user"] for r in LOG).values())
    for size, share in zip(itertools.accumulate(result.sizes), itertools.accumulate(SHARES),
        strict=True): assert abs(size - share * len(LOG)) <= largest
    shares = [f"{size / len(LOG):.1%}" for size in result.sizes]
    assert any(all(share in remark for share in shares) for remark in result.schema["remarks"])
    _, again = both(logs[kind], tmp_path / "again", kind, split_group="user")
    _, other = both(logs[kind], tmp_path / "other", kind, split_group="user", split_seed=5)
    assert again == parts and {r["user"] for r in other[0]} != users[0]
    check_vocabulary(result, parts)


@pytest.fixture(scope="module")
def split_logs(tmp_path_factory):
    "The log with a column of parts, and as three files."
    place, name = tmp_path_factory.mktemp("given"), lambda r: PARTS[(int(r["n"]) * 7 % 10 > 5)
                                                                    + (int(r["n"]) * 7 % 10 > 7)]
    rows = [r | {"part": name(r)} for r in LOG]
    split = {p: [r for r in LOG if name(r) == p] for p in PARTS}
    return {kind: (write(place / f"whole.{kind}", rows),
                   {p: write(place / f"{p}.{kind}", split[p]) for p in PARTS})
        for kind in KINDS}, split


@pytest.mark.parametrize("kind", KINDS)
def test_given(tmp_path, split_logs, kind):
    """As a column says, and as three files: the same parts, and the same rows in them; values are counted
    over training rows."""
    files, split = split_logs
    whole, three = files[kind]
    by_column, parts = both(whole, tmp_path / "column", kind, split_column="part")
    by_files, same = both(three, tmp_path / "files", kind)
    for written_parts in parts, same:
        for part, name in zip(written_parts, PARTS, strict=True):
            assert sorted(r["n"] for r in part) == sorted(r["n"] for r in split[name])
    for result in by_column, by_files:
        check_vocabulary(result, parts)
        assert result.schema["split"]["by"] == "given"
    assert by_column.numbers() == by_files.numbers()
    refused(three | {"more": whole}, tmp_path / "out", kind, "train, valid and test")
    refused({"train": three["train"], "test": three["test"]}, tmp_path / "out", kind, "train, valid and test")
    for way in {"split_group": "user"}, {"split_column": "part"}:
        refused(three, tmp_path / "out", kind, "another way to split", **way)


@pytest.mark.parametrize("kind", KINDS)
def test_leaks_are_told(tmp_path, logs, split_logs, kind):
    "How many training rows are later than the first test row, whatever way the rows are split."
    def late(parts: list[list[dict]]) -> str:
        first = min(r["when"] for r in parts[2])
        return (f"{sum(r['when'] > first for r in parts[0]) / len(parts[0]):.1%} of the training rows are "
                "later")
    for i, (source, entries) in enumerate([(logs[kind], {"split_group": "user"}),
                                           (split_logs[0][kind][0], {"split_column": "part"}),
        (split_logs[0][kind][1], {})]):
        result, parts = both(source, tmp_path / f"out{i}", kind, split_time='"when"', **entries)
        assert any(r.startswith(late(parts)) for r in result.schema["remarks"]), result.schema["remarks"]
    result, parts = both(logs[kind], tmp_path / "cut", kind, split_time='"when"')
    assert not any("later than" in r for r in result.schema["remarks"])
    result = encoded(logs[kind], tmp_path / "random", kind,
                     fields={"hour": 'EXTRACT(HOUR FROM "when")', "ad": "ad"})
    _, parts = both(logs[kind], tmp_path / "same", kind)
    assert any(r.startswith(late(parts)) and "'when'" in r
               for r in result.schema["remarks"]), result.schema["remarks"]


@pytest.mark.parametrize("kind", KINDS)
def test_splits_refused(tmp_path, logs, kind):
    """A part without rows, a part of one class, a moment that is none, a part's name that is none, a missing
    group."""
    when = {"split_time": '"when"'}
    for messages, entries in [(("0 (0 of them 1) for test",),
                              when | {"split_cuts": ["2024-03-07", "2025-01-01"]}),
        (("0 (0 of them 1) for training",), when | {"split_cuts": ["2023-03-07", "2024-03-04"]}),
                          (("'soon'", "a time"), when | {"split_cuts": ["soon", "2025-01-01"]}),
                          (("after validation",), when | {"split_cuts": ["2024-03-07", "2024-03-07"]}),
                          (("needs both a 0 and a 1",),
                          {"split_column": "CASE WHEN y = 1 AND price < 100 THEN 'test' WHEN price < 200 "
                                           "THEN 'valid' ELSE 'train' END"}),
                          (("'elsewhere'", "train, valid or test"),
                          {"split_column": "CASE WHEN price < 100 THEN 'test' ELSE 'elsewhere' END"}),
                          (("split_time", "'user'", "no time and no number"), {"split_time": "user"}),
                          (("split_group", "missing"), {"split_group": "NULLIF(user, 'u1')"}),
                          (("split_time", "missing"), {"split_time": "NULLIF(price, price)"}),
                          (("split_column", "missing"),
                           {"split_column": "CASE WHEN price < 100 THEN 'test' END"}),
                          (("column in split_time", "whenn"), {"split_time": "whenn"})]:
        assert refused(logs[kind], tmp_path / "out", kind, *messages, fields=["ad"], **entries)


@pytest.mark.parametrize("kind", KINDS)
def test_bins_of_training_rows(tmp_path, kind):
    """Edges are quantiles of the training rows: they stay where they are when test rows change, and move
    with training rows."""
    rows = [r | {"part": PARTS[(i % 10 > 5) + (i % 10 > 7)]} for i, r in enumerate(LOG)]
    change = lambda part, by: [r | {"price": r["price"] * by if r["part"] == part else r["price"]}
                               for r in rows]
    card = {"fields": [{"price": {"column": "price", "bins": 6}}, "ad"], "split_column": "part"}
    edges = []
    for i, table in enumerate([rows, change("test", 100), change("valid", .001), change("train", 2)]):
        result = encoded(write(tmp_path / f"t{i}.{kind}", table), tmp_path / f"out{i}", kind, **card)
        edges.append(result.schema["fields"][0]["edges"])
        training = sorted(r["price"] for r in table if r["part"] == "train")
        inside = np.bincount(np.searchsorted(edges[-1], training, side="right"))
        most = Counter(training).most_common(1)[0][1]
        assert len(inside) == 6 and max(inside) - min(inside) <= 2 * most # as equal as equal values allow
        here = Counter(r["price"] for r, p in zip(result.rows, result.part, strict=True) if p == 0)
        assert sorted(here.values()) == sorted(inside.tolist())
    assert edges[0] == edges[1] == edges[2] and edges[3] != edges[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["time", "group", "files"])
def test_disk_fills_up(tmp_path, small_disk, kind, way):
    "Nothing is left where the disk fills up half-way."
    source = write(tmp_path / f"t.{kind}", log_of(20_000))
    entries = {"time": {"split_time": '"when"'}, "group": {"split_group": "user"}, "files": {}}[way]
    if way == "files": source = {part: write(tmp_path / f"{part}.{kind}", log_of(20_000)) for part in PARTS}
    refused(source, small_disk / "out", kind, "is full", fields=["n", "user", "ad"],
        **entries)
    assert not list(small_disk.iterdir())
