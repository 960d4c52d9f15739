"A trained model scores other rows: whoever wrote them, by the vocabulary and the types of training."
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from test_commands import collapse

from collapse_nb.data.cards import Card
from collapse_nb.data.dataset import read_schema
from collapse_nb.data.encode import encode
from collapse_nb.data.scoring import encoded_rows, open_encoding
from collapse_nb.records import InputError
from collapse_nb.serve import predict_frame


def clicks(rows: int, seed: int = 0) -> pd.DataFrame:
    "A log with a column of every type."
    dice = np.random.default_rng(seed)
    times = pd.Timestamp("2024-03-01") + pd.to_timedelta(dice.integers(0, 14 * 24 * 60, rows), unit="min")
    columns = {"event_time": times, "user": [f"u{i}" for i in dice.integers(0, 40, rows)],
               "zip": [f"{i:03}" for i in dice.integers(0, 30, rows)],
               "price": dice.integers(0, 40, rows) / 4,
               "member": dice.random(rows) < .5, "age": dice.integers(0, 9, rows),
               "click": (dice.random(rows) < .4).astype(int)}
    return pd.DataFrame(columns).sort_values("event_time", ignore_index=True)


FIELDS = ["user", "zip", "price", "member", "age", "event_time", {"hour": "EXTRACT(HOUR FROM event_time)"},
          {"dear": "price > 5"},
          {"range": {"column": "price", "bins": 4}}]


@pytest.mark.parametrize("trained", ["csv", "parquet"])
def test_ids_do_not_depend_on_who_wrote_the_rows(tmp_path, trained):
    """pandas writes True, 3.0 and times of whole minutes; polars true; Parquet has types; a frame with a gap
    has 3.0 for 3."""
    log = clicks(600)
    log.to_csv(tmp_path / "log.csv", index=False)
    log.to_parquet(tmp_path / "log.parquet")
    pl.from_pandas(log).write_csv(tmp_path / "polars.csv")
    log.assign(age=log.age.astype(float)).to_csv(tmp_path / "gap.csv", index=False)
    card = Card(name="log", label="click", fields=FIELDS)
    data = encode(card, tmp_path / f"log.{trained}", tmp_path / "out")
    other = encode(card, tmp_path / f"log.{'parquet' if trained == 'csv' else 'csv'}", tmp_path / "other")
    for part in "train", "valid", "test": assert np.array_equal(getattr(data, part).x, getattr(other, part).x)
    words = [pl.read_parquet(tmp_path / out / "vocabulary.parquet") for out in ("out", "other")]
    assert words[0].equals(words[1])
    encoding = open_encoding(tmp_path / "out")
    expected = None
    for name in "log.csv", "log.parquet", "polars.csv", "gap.csv":
        x, strange = (np.concatenate(parts)
                      for parts in zip(*encoded_rows(encoding, tmp_path / name, tmp_path), strict=True))
        assert not strange.any(), (name, strange.sum(0))
        expected = x if expected is None else expected
        assert np.array_equal(x, expected), name


def test_files_of_three_parts_are_trained_on_and_scored(tmp_path):
    log = clicks(900)
    for name, part in {"a": log[:600], "b": log[600:750], "c": log[750:]}.items():
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    (tmp_path / "log.toml").write_text('label = "click"\nfields = ["user", "zip", "age"]\n')
    done = collapse(tmp_path, "encode", "log.toml", "--source", "a.csv", "--valid", "b.csv", "--test",
                    "c.csv", "--out", "enc")
    assert done.returncode == 0 and "600 train, 150 valid, 150 test rows" in done.stdout, done.stderr
    assert read_schema(tmp_path / "enc")["split"] == {"by": "given"}
    done = collapse(tmp_path, "fit", "log.toml", "--source", "enc", "--model", "FM", "--max-epochs", 1,
                    "--store", "store")
    assert done.returncode == 0, done.stderr
    run = Path(done.stdout.split("kept in ")[1].strip())
    scores, strange = predict_frame(tmp_path / run, log[750:].drop(columns="click"), "cpu")
    kept = np.load(tmp_path / run / "test_logits.npy")[0] # half precision
    assert np.array_equal(np.sort(scores.logit_0).astype(np.float16), np.sort(kept))
    done = collapse(tmp_path, "predict", run, "--source", "c.csv", "--out", "scores.csv")
    assert (done.returncode == 0 and strange.lines()[0] in done.stdout
            and len(pd.read_csv(tmp_path / "scores.csv")) == 150)


def test_no_file_is_read_twice(tmp_path):
    clicks(100).to_csv(tmp_path / "log.csv", index=False)
    card, file = Card(name="log", label="click", fields=["user"]), tmp_path / "log.csv"
    for source in [file, file], [file, tmp_path / "*.csv"], {"train": file, "valid": file, "test": file}:
        with pytest.raises(InputError, match="is named twice"): encode(card, source, tmp_path / "out")
    assert [f.name for f in tmp_path.iterdir()] == ["log.csv"]


BAD = {
    "a column is missing": (lambda log: log.drop(columns="user"),
                            "new.csv lacks the column 'user', which the field 'user' takes"),
    "a time is none": (lambda log: log.assign(event_time="soon"), "'soon' in line 2 of"),
    "a price is none": (lambda log: log.assign(price="dear"),
                        "the column 'price' is float in training, and the cell 'dear' in line 2 of"),
}


@pytest.mark.parametrize("kind", BAD)
def test_refused(tmp_path, kind):
    change, sentence = BAD[kind]
    log = clicks(300)
    log.to_csv(tmp_path / "log.csv", index=False)
    encode(Card(name="log", label="click", fields=FIELDS), tmp_path / "log.csv", tmp_path / "out")
    change(log).to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(InputError) as err:
        list(encoded_rows(open_encoding(tmp_path / "out"), tmp_path / "new.csv", tmp_path))
    assert sentence in str(err.value) and "where" not in str(err.value) and "\n" not in str(err.value)
