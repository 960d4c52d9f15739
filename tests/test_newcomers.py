"What somebody meets whose first table this is: what is refused, what is sentences, what leads back."
import gzip
import json
import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from collapse_nb.data.cards import Card, load_card
from collapse_nb.data.encode import encode
from collapse_nb.data.encoding.splits import source_rows
from collapse_nb.data.scoring import encoded_rows, open_encoding
from collapse_nb.records import InputError

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
ROWS = 900
dice = random.Random(0)
LABELS = [int(dice.random() < .3) for _ in range(ROWS)]
TABLE = pl.DataFrame({
    "y": LABELS,
    "user": [f"u{dice.randrange(20)}" for _ in range(ROWS)],
    "site": [dice.choice("abc") for _ in range(ROWS)],
    "bought": ["yes" if y else "no" for y in LABELS], # the label under another name
    "state": [dice.choice(["kept", "sent"]) if y else dice.choice("pq") for y in LABELS], # one label each
    "some": [None if i % 7 == 0 else "won" if y else "lost" for i, y in enumerate(LABELS)],
    "back": [f"2024-03-01 {i // 60:02}:{i % 60:02}:00" if y else None for i, y in enumerate(LABELS)],
    "nearly": ["yes" if y or i == LABELS.index(0) else "no" for i, y in enumerate(LABELS)], # but for a row
    "row": [f"r{i}" for i in range(ROWS)],
})


def written(folder: Path, kind: str, table: pl.DataFrame = TABLE) -> Path:
    path = folder / f"t.{kind}"
    table.write_csv(path) if kind == "csv" else table.write_parquet(path)
    return path


def remarks(path: Path, out: Path, **entries) -> list[str]:
    encode(Card(**{"name": "t", "label": "y"} | entries), path, out)
    return [r for r in json.loads((out / "schema.json").read_text())["remarks"] if "has the label in it" in r]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_fields_that_tell_the_label(tmp_path, kind):
    telling = {"bought": "0 in all {no} rows of 'no', 1 in all {yes} rows of 'yes'", "state": "0 in all",
               "some": "rows of 'lost', 1 in all", "back": "missing in all rows whose label is 0",
               "nearly": f"but for 1 of {ROWS} rows"}
    fields = [*TABLE.columns[1:], {"made": "CONCAT(bought, '!')"}, {"upper": "UPPER(site)"}]
    sentences = remarks(written(tmp_path, kind), tmp_path / "out", fields=fields)
    assert [r.split("'")[1] for r in sentences] == [*telling, "made"]
    counts = {"no": LABELS.count(0), "yes": LABELS.count(1)}
    for remark, part in zip(sentences, telling.values(), strict=False): assert part.format(**counts) in remark


def test_the_first_block_may_have_one_label_alone(tmp_path):
    table = TABLE.sort("y")
    (folder := tmp_path / "parts").mkdir()
    for i in range(3): table[300 * i:300 * i + 300].write_csv(folder / f"{i}.csv") # each a block of its own
    assert table["y"][:300].sum() == 0
    sentences = remarks(folder, tmp_path / "out", fields=["bought", "site", "nearly", "user", "back", "row"])
    assert [r.split("'")[1] for r in sentences] == ["bought", "nearly", "back"]


def amounts(zero: list[str], one: str, rate: float = 1.) -> pl.Series:
    "One of few values where the label is 0; where it is 1, an amount of its own, now and then another."
    own = [one if one and i % 20 == 0 else f"{i}.5" for i in range(ROWS)]
    return pl.Series([own[i] if y and dice.random() < rate else dice.choice(zero)
                      for i, y in enumerate(LABELS)])


@pytest.mark.parametrize(("zero", "one", "min_count", "remark"), [
    (["0.0"], "", 5, "it is '0.0' in all rows whose label is 0, and in no others"),
    (["0.0"], "", 1, "it is '0.0' in all rows whose label is 0, and in no others"), # each amount has an id
    (["0.0", "1.0"], "", 5, "it is a value too rare for an id in all rows whose label is 1, and in no"),
    (["0.0", "1.0"], "-1.0", 5, "rows of a value too rare for an id, and no value of 20 rows or more"),
])
def test_amounts_of_one_label_tell_it(tmp_path, zero, one, min_count, remark):
    table = TABLE.with_columns(paid=amounts(zero, one), some=amounts(zero, one, .8))
    sentences = remarks(written(tmp_path, "csv", table), tmp_path / "out", fields=["paid", "some"],
                       min_count=min_count)
    assert [r.split("'")[1] for r in sentences] == ["paid"]
    assert remark in sentences[0]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_lists_that_tell_the_label(tmp_path, kind):
    free = [[tag for tag in "pqr" if dice.random() < .5] for _ in LABELS]
    lists = {"one": [[*tags, "paid"] if y else tags for tags, y in zip(free, LABELS, strict=True)],
             "gone": [[] if y else [*tags, dice.choice("st")] for tags, y in zip(free, LABELS, strict=True)],
             "near": [[*tags, "sent"] if y != (i % 300 == 7) else tags
                      for i, (tags, y) in enumerate(zip(free, LABELS, strict=True))],
             "free": free}
    table = TABLE.with_columns(**{name: pl.Series(rows) for name, rows in lists.items()})
    if kind == "csv": table = table.with_columns(pl.col(*lists).list.join("|"))
    fields = list(lists) if kind == "parquet" else [{n: {"column": n, "separator": "|"}} for n in lists]
    sentences = remarks(written(tmp_path, kind, table), tmp_path / "out", fields=fields)
    wrong = len(range(7, ROWS, 300))
    assert [r.split("; ")[0] for r in sentences] == [
        "the field 'one' has the label in it: it has 'paid' in all rows whose label is 1, and in no others",
        "the field 'gone' has the label in it: it is missing in all rows whose label is 1, and in no others",
        "the field 'near' nearly has the label in it: it has 'sent' in the rows whose label is 1, and in no "
        f"others, but for {wrong} of {ROWS} rows"]


def test_one_row_in_a_hundred_may_differ(tmp_path):
    def names(wrong: int) -> pl.Series: # two of each label, and some rows with those of the other
        swapped = set(random.Random(1).sample(range(ROWS), wrong))
        return pl.Series([dice.choice("ab" if y == (i in swapped) else "cd") for i, y in enumerate(LABELS)])
    few = min(ROWS // 100, min(sum(LABELS), ROWS - sum(LABELS)) // 10)
    table = TABLE.with_columns(few=names(few), more=names(3 * few))
    sentences = remarks(written(tmp_path, "csv", table), tmp_path / "out",
                        fields=["few", "more", "user", "site"])
    assert [r.split("'")[1] for r in sentences] == ["few"]
    assert f"is the label of all but {few} of {ROWS} rows" in sentences[0]


@pytest.mark.parametrize("card", [
    load_card("hflights"), load_card("diabetes130"),
    Card(name="nycflights13", label="arr_delay > 15", where="arr_delay IS NOT NULL", null_values=["NA"],
         fields=["sched_dep_time", "carrier", "flight", "tailnum", "origin", "dest",
                 {"delay": {"column": "dep_delay", "bins": 50}}]), # which says nearly all of the label
    Card(name="insteval", label="y = 5", fields=["s", "d", "studage", "lectage", "service", "dept"]),
], ids=lambda card: card.name)
def test_honest_fields_are_not_remarked_on(tmp_path, card):
    path = next(DATA.glob(f"{card.name}/*.csv.gz"), None)
    if path is None: pytest.skip("the real tables are not here")
    encode(card, path, tmp_path / "out")
    assert "the label in it" not in (tmp_path / "out" / "schema.json").read_text()


def test_few_rows_tell_nothing(tmp_path):
    few, split = written(tmp_path, "csv", TABLE.head(60)), [.5, .25, .25]
    sentences = remarks(few, tmp_path / "out", fields=["bought", "user"], split=split)
    assert (len(sentences) == 1) == (min(LABELS[:60].count(0), LABELS[:60].count(1)) >= 20)


def test_texts_without_end_are_refused(tmp_path):
    for sql, message in {"REPEAT(\"user\", 1000000000)": "1,000,000,000",
                         "REPEAT('x', 1000 * 1000 * 1000)": "more than 256 copies",
                         "LPAD(site, LENGTH(\"user\") * 100000000, 'x')": "more than 256 characters"}.items():
        with pytest.raises(InputError, match=message):
            remarks(written(tmp_path, "parquet"), tmp_path / "out", fields=["site", {"f": sql}])
    assert not (tmp_path / "out").exists()


WAYS = {
    "at random": {},
    "some of them": {"where": "site <> 'a'"},
    "where all count": {"where": "site <> 'z'"},
    "in time": {"split_time": "REPLACE(\"row\", 'r', '') % 101"},
    "in time, some": {"split_time": "REPLACE(\"row\", 'r', '') % 101", "where": "site <> 'b'"},
    "by group": {"split_group": "\"user\"", "split": [.5, .25, .25]},
    "as given": {"split_column": "CASE site WHEN 'a' THEN 'test' WHEN 'b' THEN 'train' ELSE 'val' END"},
}


def check_way_back(out: Path, table: pl.DataFrame, data) -> None:
    "Every stored row is the row of the source that it is said to be."
    words = pl.read_parquet(out / "vocabulary.parquet").filter(field="row")
    words = dict(words.select("id", "value").iter_rows())
    rows_of = source_rows(out)
    for part, rows in rows_of.items():
        split = getattr(data, part)
        assert [words[int(i)] for i in split.x[:, 0]] == table["row"][rows].to_list()
        assert split.y.tolist() == table["y"][rows].to_list()
    assert len(set(np.concatenate(list(rows_of.values())).tolist())) == sum(map(len, rows_of.values()))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("way", WAYS)
def test_rows_lead_back_to_the_source(tmp_path, kind, way):
    entries = {"name": "t", "label": "y", "fields": ["row"], "vocabulary": "all", "split_seed": 5}
    card = Card(**entries | WAYS[way])
    data = encode(card, written(tmp_path, kind), tmp_path / "out")
    check_way_back(tmp_path / "out", TABLE, data)
    assert (tmp_path / "out" / "rows.npy").exists() == (way not in ("at random", "where all count"))


def test_rows_of_several_files_lead_back(tmp_path):
    files = {}
    for part, (start, rows) in {"train": (0, 500), "valid": (500, 200), "test": (700, 200)}.items():
        TABLE[start:start + rows].write_csv(path := tmp_path / f"{part}.csv")
        files[part] = path
    card = Card(name="t", label="y", fields=["row"], vocabulary="all")
    check_way_back(tmp_path / "out", TABLE, encode(card, files, tmp_path / "out"))
    check_way_back(tmp_path / "two", TABLE, encode(card, list(files.values()), tmp_path / "two"))


def test_refused_rows_are_counted(tmp_path):
    lines = written(tmp_path, "csv").read_text().splitlines()
    lines.insert(3, "cut,off")
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    card = Card(name="t", label="y", fields=["row"])
    data = encode(card, tmp_path / "t.csv", tmp_path / "out", "skip", .01)
    read = pl.concat([TABLE[:2], TABLE.clear(1), TABLE[2:]]) # as the file has them
    check_way_back(tmp_path / "out", read, data)
    (tmp_path / "out" / "rows.npy").unlink() # as older versions left it
    with pytest.raises(InputError, match="encode it again"): source_rows(tmp_path / "out")


def test_folders_without_a_way_back_say_so(tmp_path):
    some = Card(name="t", label="y", fields=["row"], where="site <> 'a'")
    encode(some, written(tmp_path, "csv"), tmp_path / "out")
    (tmp_path / "out" / "rows.npy").unlink()
    with pytest.raises(InputError, match="encode it again"): source_rows(tmp_path / "out")
    encode(Card(name="t", label="y", fields=["row"]), tmp_path / "t.csv", tmp_path / "all")
    record = json.loads((tmp_path / "all" / "schema.json").read_text())
    (tmp_path / "all" / "schema.json").write_text(json.dumps(record | {"permutation": "0" * 64}))
    with pytest.raises(InputError, match="draws another permutation"): source_rows(tmp_path / "all")
    del record["read"]
    (tmp_path / "all" / "schema.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="was not encoded from a file"): source_rows(tmp_path / "all")


def test_a_file_of_which_no_row_can_be_read(tmp_path):
    (folder := tmp_path / "parts").mkdir()
    (folder / "a.csv").write_text("y,site\n1\n0\n1\n")
    TABLE.select("y", "site").write_csv(folder / "b.csv")
    card = Card(name="t", label="y", fields=["site"])
    with pytest.raises(InputError, match="line 2 has too few columns"):
        encode(card, folder, tmp_path / "stop")
    data = encode(card, folder, tmp_path / "skip", "skip", .01)
    assert len(data.train) + len(data.valid) + len(data.test) == ROWS
    rows = np.concatenate(list(source_rows(tmp_path / "skip").values()))
    assert (rows.min(), rows.max()) == (3, ROWS + 2) # behind those of the first file


@pytest.mark.parametrize("swap", [False, True])
def test_whole_numbers_beside_a_gap_are_the_same_values(tmp_path, swap):
    (folder := tmp_path / "parts").mkdir()
    table = TABLE.select("y", u=pl.Series([dice.randrange(50) for _ in range(ROWS)]))
    for entries in {"fields": ["u"]}, {"fields": [{"f": "u + 1"}, "u"]}:
        card, half = Card(name="t", label="y", min_count=1, **entries), ROWS // 2
        parts = table[:half], table[half:].with_columns(pl.col("u").cast(pl.Float64))
        for i, part in enumerate(parts): part.write_parquet(folder / f"{i ^ swap}.parquet")
        table.with_columns(pl.col("u").cast(pl.Float64)).write_parquet(tmp_path / "one.parquet")
        mixed, one = (tmp_path / f"{len(card.fields)}-{name}" for name in ("mixed", "one"))
        data = encode(card, folder, mixed)
        encode(card, tmp_path / "one.parquet", one)
        assert data.schema.cardinalities[-1] == table["u"].n_unique() + 1
        words = [pl.read_parquet(out / "vocabulary.parquet").sort("field", "value") for out in (mixed, one)]
        assert words[0].drop("id").equals(words[1].drop("id"))
        encoding = open_encoding(mixed)
        for i in 0, 1: # tomorrow's rows may have a gap, or none
            for _, strange in encoded_rows(encoding, folder / f"{i}.parquet", tmp_path / "work"):
                assert not strange.any()


def test_whole_numbers_that_would_lose_digits_are_refused(tmp_path):
    (folder := tmp_path / "parts").mkdir()
    table = TABLE.select("y", u=pl.lit(2**53 + 1))
    table.write_parquet(folder / "0.parquet")
    table.with_columns(u=pl.lit(1.5)).write_parquet(folder / "1.parquet")
    with pytest.raises(InputError, match=r"'u' holds whole numbers in .*0.parquet .*: save the column as"):
        encode(Card(name="t", label="y", fields=["u"]), folder, tmp_path / "out")


def test_a_file_and_its_packed_form_are_read_once(tmp_path):
    (folder := tmp_path / "parts").mkdir()
    plain = written(folder, "csv")
    (folder / "t.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    with pytest.raises(InputError, match=rf"both {plain} and {plain}\.gz, and the one is the other packed"):
        encode(Card(name="t", label="y", fields=["user"]), folder, tmp_path / "out")


def test_a_copy_is_remarked_upon(tmp_path):
    (folder := tmp_path / "parts").mkdir()
    plain, card = written(folder, "csv"), Card(name="t", label="y", fields=["site"])
    copies = {}
    for name, text in ("other", plain.read_text().replace("u1", "u2")), ("copy", plain.read_text()):
        (folder / "u.csv").write_text(text)
        encode(card, folder, tmp_path / name)
        copies[name] = [r for r in json.loads((tmp_path / name / "schema.json").read_text())["remarks"]
                        if "looks like a copy" in r]
    assert copies["other"] == []
    assert [r.split(",")[0] for r in copies["copy"]] == [f"{folder / 'u.csv'} looks like a copy of {plain}"]


@pytest.mark.parametrize("end", ["tsv", "tsv.gz", "tab"])
def test_a_file_whose_name_says_tabs_is_one_of_tabs(tmp_path, end):
    text = TABLE.write_csv(separator="\t", null_value="").encode()
    (path := tmp_path / f"t.{end}").write_bytes(gzip.compress(text) if end.endswith(".gz") else text)
    fields, out = ["user", "site"], [tmp_path / name for name in ("by-name", "csv")]
    encode(card := Card(name="t", label="y", fields=fields), path, out[0])
    encode(card, written(tmp_path, "csv"), out[1])
    for name in "x.npy", "y.npy", "vocabulary.parquet":
        assert (out[0] / name).read_bytes() == (out[1] / name).read_bytes()
    records = [json.loads((folder / "schema.json").read_text()) for folder in out]
    assert records[0]["card"] == records[1]["card"] == card.model_dump(mode="json")
    assert [r.get("read_as") for r in records] == ["tsv", None]
    for _, strange in encoded_rows(open_encoding(out[0]), path, tmp_path): assert not strange.any()
    with pytest.raises(InputError, match="is one column: separate columns"):
        encode(Card(name="t", label="y", fields=fields, format="csv"), path, tmp_path / "not")


def test_a_new_table_that_lacks_a_column_is_named(tmp_path):
    encode(Card(name="t", label="y", fields=["site", {"f": "UPPER(\"user\")"}]), written(tmp_path, "csv"),
           tmp_path / "out")
    TABLE.drop("user").write_csv(tmp_path / "new.csv")
    with pytest.raises(InputError, match=r"new\.csv lacks the column 'user', which the field 'f' takes: add"):
        list(encoded_rows(open_encoding(tmp_path / "out"), tmp_path / "new.csv", tmp_path))


@pytest.mark.parametrize("cell", ["oops", "2024-02-30"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_cell_that_is_no_time_is_named(tmp_path, kind, cell):
    days = [cell if i in (500, 700) else f"2024-03-{1 + i % 20:02}" for i in range(ROWS)]
    path = written(tmp_path, kind, TABLE.with_columns(t=pl.Series(days)))
    with pytest.raises(InputError, match=rf"'t', is a time in .* '{cell}' in (line 502|row 501) of"):
        encode(Card(name="t", label="y", fields=["site"], split_time="t"), path, tmp_path / "out")
    with pytest.raises(InputError, match=r"'site', is no time and no number: write it"):
        encode(Card(name="t", label="y", fields=["user"], split_time="site"), path, tmp_path / "out")


def test_a_header_amid_the_rows_is_remarked_on(tmp_path):
    text = written(tmp_path, "csv", TABLE.select("bought", "site")).read_text()
    card = Card(name="t", label="bought = 'yes'", fields=["site"])

    def headers_amid(name: str, text: str, card: Card = card) -> list[str]:
        (path := tmp_path / f"{name}.csv").write_text(text)
        encode(card, path, tmp_path / name)
        record = json.loads((tmp_path / name / "schema.json").read_text())
        return [r for r in record["remarks"] if "header" in r]

    lines = text.splitlines(keepends=True)
    remark, = headers_amid("twice", text + text)
    assert remark.startswith("a row is the header again in line")
    assert f"line {len(lines) + 1} of" in remark
    remark, = headers_amid("thrice", text * 3)
    assert remark.startswith("2 rows are the header again (the first in line")
    assert not headers_amid("once", text)
    assert not headers_amid("cells", text + "bought,a\nno,site\n") # the names, in rows of their own
    kept = card.model_copy(update={"where": "site <> 'site'"})
    assert not headers_amid("where", text + text, kept)
