"What somebody meets whose first table this is: what is refused, what is remarked, what leads back."
import json
import random
from pathlib import Path

import polars as pl
import pytest

from collapse_nb.data.cards import Card
from collapse_nb.data.encode import encode
from collapse_nb.records import InputError

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
               "some": "rows of 'lost', 1 in all", "back": "missing in all rows whose label is 0"}
    fields = [*TABLE.columns[1:], {"made": "CONCAT(bought, '!')"}, {"upper": "UPPER(site)"}]
    said = remarks(written(tmp_path, kind), tmp_path / "out", fields=fields)
    assert [r.split("'")[1] for r in said] == [*telling, "made"]
    counts = {"no": LABELS.count(0), "yes": LABELS.count(1)}
    for remark, part in zip(said, telling.values(), strict=False): assert part.format(**counts) in remark


def test_the_first_block_may_have_one_label_alone(tmp_path):
    table = TABLE.sort("y")
    (folder := tmp_path / "parts").mkdir()
    for i in range(3): table[300 * i:300 * i + 300].write_csv(folder / f"{i}.csv") # each a block of its own
    assert table["y"][:300].sum() == 0
    said = remarks(folder, tmp_path / "out", fields=["bought", "site", "nearly", "user", "back", "row"])
    assert [r.split("'")[1] for r in said] == ["bought", "back"]


def test_few_rows_tell_nothing(tmp_path):
    few, split = written(tmp_path, "csv", TABLE.head(60)), [.5, .25, .25]
    said = remarks(few, tmp_path / "out", fields=["bought", "user"], split=split)
    assert (len(said) == 1) == (min(LABELS[:60].count(0), LABELS[:60].count(1)) >= 20)


def test_texts_without_end_are_refused(tmp_path):
    for sql, said in {"REPEAT(\"user\", 1000000000)": "1,000,000,000",
                      "REPEAT('x', 1000 * 1000 * 1000)": "more than 256 copies",
                      "LPAD(site, LENGTH(\"user\") * 100000000, 'x')": "more than 256 characters"}.items():
        with pytest.raises(InputError, match=said):
            remarks(written(tmp_path, "parquet"), tmp_path / "out", fields=["site", {"f": sql}])
    assert not (tmp_path / "out").exists()
