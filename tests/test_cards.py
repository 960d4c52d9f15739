"""The cards of public tables say where to get them, are as large as is told, and have no field that tells the
label. Made-up clicks are those that stored runs were trained on."""
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from collapse_nb.data.cards import CardField, card_files, load_card, refuse_leaks
from collapse_nb.data.encode import encode
from collapse_nb.data.source import home, open_source
from collapse_nb.records import InputError

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
# table -> its file, rows of training, validation and test, fields, ids, share of ones
TABLES = {"nycflights13": ("flights.csv.gz", (261_876, 32_734, 32_736), 9, 7_033, .2371),
          "flights-3m": ("flights-3m.parquet", (2_400_000, 300_000, 300_000), 8, 8_265, .1997),
          "insteval": ("insteval.csv.gz", (58_736, 7_342, 7_343), 6, 4_097, .4450)}
# what the cards leave out because it is known only on the way or after landing
LEAKS = {"nycflights13": ["dep_delay", "arr_time - sched_arr_time", "dep_time - sched_dep_time"]}


def auc_of_one_field(data, i: int) -> float:
    "Test AUC of the click rates of a field's values in the training rows."
    size = data.schema.cardinalities[i]
    ones, everyone = (np.bincount(data.train.x[:, i], weights, size) for weights in (data.train.y, None))
    rate = (ones + 10 * data.label_rate) / (everyone + 10)
    return roc_auc_score(data.test.y, rate[data.test.x[:, i]])


@pytest.mark.parametrize("name", [name for name in card_files() if load_card(name).format != "embedded"])
def test_a_card_says_what_it_is_of_and_under_which_terms(name):
    card = load_card(name)
    assert card.title and "http" in card.source and card.licence
    assert card.how or card.downloads or "http" in card.source


@pytest.mark.parametrize("name", TABLES)
def test_sizes_are_those_told_and_no_field_tells_the_label(tmp_path, name):
    file, rows, fields, ids, rate = TABLES[name]
    if not (DATA / name / file).is_file(): pytest.skip("the real tables are not here")
    card = load_card(name)
    data = encode(card, DATA / name / file, tmp_path / "out")
    assert tuple(len(getattr(data, part)) for part in ("train", "valid", "test")) == rows
    assert (data.schema.num_fields, data.schema.num_rows, round(data.label_rate, 4)) == (fields, ids, rate)
    assert "the label in it" not in (tmp_path / "out" / "schema.json").read_text()
    alone = [auc_of_one_field(data, i) for i in range(fields)]
    assert .5 < max(alone) < .7, dict(zip(data.schema.names, alone, strict=True))
    for sql in LEAKS.get(name, ()): # which the same look finds
        leaking = card.model_copy(update={"fields": (CardField(name="leak", sql=sql),)})
        assert auc_of_one_field(encode(leaking, DATA / name / file, tmp_path / sql), 0) > .8
    of_label = card.model_copy(update={"fields": (CardField(name="leak", sql=card.label),)})
    with pytest.raises(InputError, match="tells the answer"): refuse_leaks(of_label)


@pytest.mark.parametrize("stem", ["runs", "regime-runs", "truth-runs"])
def test_made_up_clicks_are_those_of_stored_runs(stem):
    rows = pd.read_csv(home() / "data" / "results" / f"{stem}-synthetic.csv")
    whole = rows if stem != "regime-runs" else rows[rows.train_rows == rows.train_rows.max()]
    for name, of_card in whole.groupby("dataset"):
        assert set(of_card.fingerprint) == {open_source(name).fingerprint}


def test_both_kinds_of_made_up_clicks_show_the_same_ids_and_have_one_best_auc():
    pairs, single = map(open_source, ("synthetic", "synthetic-additive"))
    for part in ("train", "valid", "test"):
        one, other = getattr(pairs, part), getattr(single, part)
        assert (one.x == other.x).all()
        assert .1 < (one.y != other.y).mean() < .5 # other clicks, by other probabilities
    assert abs(pairs.label_rate - single.label_rate) < .002 # the standard error of 200,000 rows is .001
    assert abs(pairs.bayes_auc - single.bayes_auc) < .003
    alone = [max(auc_of_one_field(data, i) for i in range(13)) for data in (pairs, single)]
    assert alone[0] + .03 < alone[1] # a field by itself says more where there are no pairs
