"Study files: what is in them, what is not, what is refused, and that pooling does not depend on their order."
import json
import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student
from scipy.stats import ttest_1samp
from test_commands import ROOT, collapse
from typer.testing import CliRunner

from collapse_nb import stats
from collapse_nb.cli import app
from collapse_nb.data.dataset import Encoded, Split
from collapse_nb.fields import FieldSchema
from collapse_nb.records import InputError
from collapse_nb.show.sentences import estimate
from collapse_nb.stats import pool
from collapse_nb.study import (
    CLAIMS,
    ClaimOf,
    export_study,
    pool_studies,
    read_study,
    stored_evidence,
    study_in,
    study_of,
)
from collapse_nb.train.recipe import Recipe
from collapse_nb.train.runs import Group, RunStore
from collapse_nb.train.sweep import grid, run_group, sweep

RESULTS = ROOT / "data" / "results"
NAMES = ["street_of_the_shop", "secret-device"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    "Four cells of a small table, and a model under another recipe."
    x = (np.arange(600).reshape(-1, 2) * [1, 7] % [11, 5]).astype(np.int32)
    rows = Split(x, (x.sum(1) % 3 == 0).astype(np.uint8))
    data = Encoded("secret table", FieldSchema(NAMES, [11, 5]), rows, rows, rows, "secretprint", .3)
    place = RunStore(tmp_path_factory.mktemp("studies") / "store")
    def group(spec, seeds, epochs):
        return Group(dataset=data.name, fingerprint=data.fingerprint, spec=spec, seeds=seeds,
                     recipe=Recipe(max_epochs=epochs))
    wanted = [group(spec, range(3), 1) for spec in grid(["DNN"], ["SE", "ME"], [1, 2])]
    wanted.append(group(wanted[0].spec, (0,), 2))
    sweep(wanted, place, run=lambda g: run_group(g, data, "cpu", show=False), show=False)
    return place.path


def test_a_file_tells_nothing_of_the_table_but_its_size(tmp_path, store):
    out = tmp_path / "study.json"
    done = collapse(tmp_path, "study", "export", store, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "300 training rows, 2 fields, 16 ids; 3 cells, 9 runs" in done.stdout
    assert "left out: 1 run of other data, settings or treatments\n" in done.stdout
    text = out.read_text()
    assert not any(word in text for word in ("secret", "street", str(store), "finished", "commit", "cpu ("))
    study = read_study(out)
    frame = RunStore(store).frame().query("max_epochs == 1")
    told = {(*cell.key, seed): auc for cell in study.cells
            for seed, auc in zip(cell.seeds, cell.test_auc, strict=True)}
    assert told == {(r.model, r.design, r.scale, r.seed): r.test_auc for r in frame.itertuples()}
    assert (study.shape.fields, study.shape.test_rows, study.recipe["max_epochs"]) == (2, 300, 1)
    assert set(study.versions) == {"version", "python", "torch", "numpy"}


def test_names_are_told_only_where_they_are_asked_for(tmp_path, store):
    export_study(store, tmp_path / "s.json", fields=True, name="the shop")
    body = json.loads((tmp_path / "s.json").read_text())
    assert body["field_sizes"] == dict(zip(NAMES, [11, 5], strict=True)) and body["table"] == "the shop"
    assert "secret table" not in str(body)


def run(*words) -> str:
    "The command in this process; what it prints."
    done = CliRunner().invoke(app, [*map(str, words)], standalone_mode=False)
    if done.exception: raise done.exception
    return done.stdout


def test_our_own_studies_follow_from_stored_runs(tmp_path):
    tables, files = ("hflights", "synthetic"), []
    for table in tables:
        files.append(tmp_path / f"{table}.json")
        run("study", "export", RESULTS / f"runs-{table}.csv", "--out", files[-1], "--name", table)
    pooled = json.loads(run("study", "pool", *files, "--json"))
    primary = "claim == 'me-beats-se' and model == 'mean' and scale == 10"
    known, frame = (pd.DataFrame(pooled[part]).query(primary) for part in ("tables", "pooled"))
    # of the models that both have, seed by seed
    aucs = [pd.read_csv(RESULTS / f"runs-{table}.csv").query("scale == 10").pivot(
        index="seed", columns=["design", "model"], values="test_auc") for table in tables]
    common = aucs[0]["ME"].columns.intersection(aucs[1]["ME"].columns)
    assert len(common) > 1 and set(known["over"]) == {", ".join(m for m in stats.MODELS if m in common)}
    tests = [ttest_1samp((auc["ME"][common] - auc["SE"][common]).mean(axis=1), 0) for auc in aucs]
    ends = [(test.confidence_interval().low, test.confidence_interval().high) for test in tests]
    np.testing.assert_allclose(known[["low", "high"]], ends, atol=1e-9)
    np.testing.assert_allclose(known["gain"], np.mean(ends, axis=1), atol=1e-9)
    expected, row = stats.pool(known["gain"], known["error"]), frame.iloc[0]
    assert (row.effect, row.tau) == pytest.approx((expected.mean, expected.tau), abs=1e-9)


def made_up(gain: float, table: str, models=("DNN", "DCNv2"), **columns) -> pd.DataFrame:
    draw = np.random.default_rng([*table.encode()])
    rows = [(m, d, s, seed, .75 + gain * (d == "ME") + .001 * draw.normal()) for m in models
            for d, s in (("SE", 1), ("SE", 4), ("ME", 4)) for seed in range(5)]
    frame = pd.DataFrame(rows, columns=["model", "design", "scale", "seed", "test_auc"])
    return frame.assign(**{"dataset": table, "fingerprint": table, "status": "done", "train_rows": 900,
                           "dim": 10, "num_sets": 1, "table_parameters": 700, "variant": "paper",
                           "batch_norm": "recomputed", **columns})


@pytest.fixture
def files(tmp_path):
    "Study files of four tables."
    paths = []
    for table, gain in zip("pqrs", (.004, .002, -.001, .003), strict=True):
        paths.append(tmp_path / f"{table}.json")
        paths[-1].write_text(study_of(made_up(gain, table), name=table)[0].text())
    return paths


def test_what_cannot_be_used_is_a_sentence_each_and_the_rest_counts(tmp_path, files):
    alone = run("study", "pool", *files)
    assert "4 tables: p (900 rows, 70 ids), q" in alone
    twisted = ClaimOf(says="ME is worse", ours="SE", base="ME", base_at="the same size")
    other = study_of(made_up(.2, "t"), name="t")[0]
    bad = {"cut.json": files[0].read_text()[:200], "binary.json": "\0\1\2", "list.json": "[1]",
           "edited.json": files[1].read_text().replace("0.7", "0.8"), "twice.json": files[2].read_text(),
           "running.json": study_of(made_up(.2, "u", batch_norm="running"))[0].text(),
           "other.json": other.model_copy(update={"claims": {"me-beats-se": twisted}}).text()}
    for name, text in bad.items(): (tmp_path / name).write_text(text)
    told = run("study", "pool", *files, *(tmp_path / name for name in bad), "nowhere.json")
    notes = [line for line in told.splitlines() if line.startswith("note: ")]
    words = ["no JSON, or not all of it", "no JSON", "no study file", "damaged, its check sum", "counts once",
             "(batch_norm: running, there recomputed)", "cannot be read",
             "something else by 'me-beats-se' ('ME is worse')"]
    assert len(notes) == len(words) and all(w in n for w, n in zip(words, notes, strict=True)), notes
    named = [*(str(tmp_path / name) for name in bad if name != "other.json"), "nowhere.json"]
    named.append(str(tmp_path / "other.json"))
    assert all(note.startswith(f"note: {name} ") for name, note in zip(named, notes, strict=True)), notes
    effects = lambda text: text.split("in test AUC:")[1:]
    assert effects(told.split("\ntau:")[0]) == effects(alone.split("\ntau:")[0])


@pytest.mark.parametrize("setting, value", [
    ("optimizer", "SparseAdam"), ("learning_rate", .01), ("weight_decay", 0.), ("patience", 6),
    ("max_epochs", 2), ("precision", "bfloat16"), ("batch_norm", "running"), ("variant", "released"),
    ("hidden", 64), ("hidden_layers", 3), ("dropout", .5), ("base_dim", 4), ("table_learning_rate", .02)])
def test_a_study_that_was_trained_in_another_way_is_left_out(tmp_path, setting, value):
    usual = {"hidden": 400, "hidden_layers": 2, "dropout": .2, **Recipe().model_dump(), "variant": "paper",
             "batch_norm": "recomputed", "precision": "float32"}
    def file(table, **columns):
        path = tmp_path / f"{table}.json"
        path.write_text(study_of(made_up(.01, table, **usual | columns), name=table)[0].text())
        return path
    first, small = file("p"), file("q", batch_size=64)
    found = pool_studies([first, small, other := file("r", **{setting: value})])
    assert [study.table for study in found.studies] == ["p", "q"] # each table has its own batch size
    unlike = f"{setting}: {value}, there {usual.get(setting, 'none')}"
    assert found.left_out == [f"{other} was trained in another way than {first} ({unlike}): it is left out, "
                              "for their AUCs are not alike."]
    pd.testing.assert_frame_equal(found.frame(), pool_studies([first, small]).frame())


def test_without_a_single_file_that_can_be_used_it_ends_with_a_sentence(tmp_path):
    (tmp_path / "bad.json").write_text("{}")
    done = collapse(tmp_path, "study", "pool", "bad.json", "none.json")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "none of the files can be used" in done.stderr


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_change_to_a_file_is_noticed(tmp_path_factory, data):
    text = study_of(made_up(.01, "v"))[0].text()
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.characters(codec="ascii", categories=("Nd", "Ll", "Po")))
    path = tmp_path_factory.mktemp("changed") / "s.json"
    path.write_text(text[:place] + letter + text[place + 1:])
    try: assert read_study(path).text() == text # the letter was the same, or between entries
    except InputError as err: assert str(path) in str(err)


def test_the_order_of_files_and_of_seeds_does_not_matter(files, tmp_path):
    first = pool_studies(files).frame()
    for seed in range(3):
        dice = random.Random(seed)
        mixed = []
        for path in dice.sample(files, len(files)):
            body = json.loads(path.read_text())
            runs = made_up(0, body["table"]).sample(frac=1, random_state=seed)
            truth = made_up({"p": .004, "q": .002, "r": -.001, "s": .003}[body["table"]], body["table"])
            columns = ["model", "design", "scale", "seed", "test_auc"]
            runs = runs.drop(columns="test_auc").merge(truth[columns])
            mixed.append(tmp_path / f"mixed-{seed}-{path.name}")
            mixed[-1].write_text(study_of(runs, name=body["table"])[0].text())
        pd.testing.assert_frame_equal(pool_studies(mixed).frame(), first)


def test_a_mean_over_models_is_over_those_that_all_tables_have(tmp_path, files):
    runs = made_up(.1, "w", models=("DCNv2", "NFwFM"))
    (few := tmp_path / "few.json").write_text(study_of(runs)[0].text())
    known = pool_studies([*files, few]).known
    assert "mean" not in set(known.model) # one model is in common, and it has a row of its own
    assert known.query("claim == 'me-gains' and model == 'DCNv2'").table.nunique() == 5
    assert known.query("claim == 'me-gains' and model == 'NFwFM'").table.nunique() == 1


def test_added_seeds_do_not_change_the_spread(tmp_path):
    runs = made_up(.01, "x")
    more = runs.assign(seed=runs.seed + 5, test_auc=runs.test_auc + .1 * (runs.seed % 2))
    both = pd.concat([runs.assign(stage=1), more.assign(stage=2)])
    (file := tmp_path / "s.json").write_text(study_of(both)[0].text())
    ours = pool_studies([file]).known.query("claim == 'me-beats-se' and model == 'mean'").iloc[0]
    theirs = stats.contrasts(both).iloc[0]
    assert (ours.gain, ours.low, ours.high) == pytest.approx((theirs.difference, theirs.low, theirs.high))


@pytest.mark.parametrize("words, sentence", [
    (("export", "nowhere", "--out", "s.json"), "there is no store at 'nowhere'"),
    (("export", "empty", "--out", "s.json"), "there are no runs in 'empty'"),
    (("export", RESULTS / "runs-hflights.csv", "--out", "empty"), "is a folder"),
    (("export", RESULTS / "runs-hflights.csv", "--out", "s.json", "--fields"), "not in this table"),
    (("export", RESULTS / "runs-hflights.csv", "--out", "s.json", "--dataset", "hflight"),
     "unknown dataset 'hflight': did you mean 'hflights'"),
    (("export", RESULTS / "table2-hflights.csv", "--out", "s.json"), "a table of runs without"),
    (("export", "broken.csv", "--out", "s.json"), "is no table")])
def test_wrong_input_is_one_sentence_and_writes_nothing(tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError) as err: run("study", *words)
    assert sentence in str(err.value) and "\n" not in str(err.value)
    assert not (tmp_path / "s.json").exists()


@pytest.mark.parametrize("column", ["dataset", "fingerprint", "model", "design", "scale", "seed", "status",
                                    "test_auc", "train_rows", "table_parameters", "dim", "num_sets"])
def test_a_table_of_runs_without_a_column_is_one_sentence(tmp_path, column):
    runs = made_up(.01, "t").drop(columns=column)
    runs.to_csv(file := tmp_path / "t.csv", index=False)
    with pytest.raises(InputError) as err: run("study", "export", file, "--out", tmp_path / "t.json")
    assert str(err.value).startswith(f"{file}: a table of runs without {column} was given")
    assert not (tmp_path / "t.json").exists()


@pytest.mark.parametrize("column, value, sentence", [
    ("scale", 1.5, "a run has scale 1.5: give a whole number from 1 on."),
    ("scale", "4x", "a run has scale 4x: give a whole number from 1 on."),
    ("seed", -1, "a run has seed -1"), ("dim", 0, "a run has dim 0"), ("test_auc", 80, "test_auc 80"),
    ("num_sets", None, "a run has num_sets nan"), ("train_rows", np.inf, "a run has train_rows inf"),
    ("table_parameters", "?", "a run has table_parameters ?"),
    ("test_auc", "high", "a run has test_auc high: give a number from 0 to 1"),
    ("model", "DCN2", "unknown model 'DCN2': did you mean 'DCNv2'"), ("model", None, "unknown model nan"),
    ("design", "FE", "unknown design 'FE'"), ("status", "Done", "unknown status 'Done'"),
    ("dataset", None, "a run without a dataset"), ("fingerprint", None, "a run without a fingerprint")])
def test_a_wrong_entry_of_a_table_of_runs_is_one_sentence(tmp_path, column, value, sentence):
    runs = made_up(.01, "t").astype({column: object})
    runs.loc[7, column] = value
    runs.to_csv(file := tmp_path / "t.csv", index=False)
    with pytest.raises(InputError) as err: run("study", "export", file, "--out", tmp_path / "t.json")
    said = str(err.value)
    assert said.startswith(f"{file}: ") and sentence in said and "\n" not in said
    assert not (tmp_path / "t.json").exists()
    with pytest.raises(InputError, match="none of the files can be used: ") as err: pool_studies([file])
    assert str(file) in str(err.value)


def test_a_table_with_a_number_for_a_name_is_named_by_it(tmp_path):
    made_up(.01, "2011").to_csv(file := tmp_path / "t.csv", index=False)
    assert study_in(file, dataset="2011", at_home=True)[0].table == "2011"


def test_runs_that_failed_are_told_in_the_file_and_in_words(tmp_path, files):
    runs = made_up(.002, "t")
    lost = ((runs.model == "DNN") & (runs.design == "ME")) | ((runs.model == "DCNv2") & (runs.seed == 3))
    runs = runs.assign(status=runs.status.mask(lost, "failed"), test_auc=runs.test_auc.mask(lost))
    runs.to_csv(table := tmp_path / "t.csv", index=False)
    words = "1 of 5 of DCNv2 SE 1x, 1 of 5 of DCNv2 ME 4x, 1 of 5 of DCNv2 SE 4x"
    told = run("study", "export", table, "--out", tmp_path / "t.json")
    assert "5 cells, 22 runs, and 8 that failed (" in told and "all 5 of DNN ME 4x" in told, told
    assert words in told
    cells = {cell.key: cell for cell in read_study(tmp_path / "t.json").cells}
    assert (cells["DNN", "ME", 4].seeds, cells["DNN", "ME", 4].failed) == ((), 5)
    assert cells["DCNv2", "SE", 1].failed == 1
    told = run("study", "pool", *files, tmp_path / "t.json")
    note = [line for line in told.splitlines() if line.startswith("note: ")]
    assert len(note) == 1 and str(tmp_path / "t.json") in note[0] and "all 5 of DNN ME 4x" in note[0]
    known = pool_studies([*files, tmp_path / "t.json"]).known.query("table.str.startswith('table-')")
    assert set(zip(known.claim, known.model, strict=True)) == { # DNN ME has no number, and no mean has it
        ("me-beats-se", "DCNv2"), ("me-gains", "DCNv2"), ("se-gains", "DNN"), ("se-gains", "DCNv2"),
        ("se-gains", "mean")}


def test_a_note_on_a_number_names_its_file(tmp_path, files):
    (one := tmp_path / "one.json").write_text(study_of(made_up(0, "t").query("seed == 0"))[0].text())
    notes = pool_studies([*files, one]).left_out
    assert notes and all(note.startswith(f"{one} has no spread over seeds") for note in notes), notes


def test_runs_of_a_store_that_are_not_pooled_are_told(store):
    said = pool_studies([store]).left_out[0]
    assert said.startswith(f"{store} holds more than one study; left out: 1 run of other data, settings")


def test_claims_of_a_file_are_those_that_its_cells_can_show(store):
    study, _ = study_in(store)
    assert study.claims == CLAIMS
    base = RunStore(store).frame().query("scale == 1 and max_epochs == 1")
    assert study_of(base)[0].claims == {}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(.01, 1)), min_size=3, max_size=8))
def test_pooling_is_the_textbooks(tables):
    "DerSimonian and Laird's formulas written out in sums."
    y, s = [list(v) for v in zip(*tables, strict=True)]
    k, w = len(y), [1 / e**2 for e in s]
    fixed = sum(a * b for a, b in zip(w, y, strict=True)) / sum(w)
    q = sum(a * (b - fixed)**2 for a, b in zip(w, y, strict=True))
    tau2 = max(0, (q - k + 1) / (sum(w) - sum(a * a for a in w) / sum(w)))
    w = [1 / (e**2 + tau2) for e in s]
    mean = sum(a * b for a, b in zip(w, y, strict=True)) / sum(w)
    error2 = max(1, sum(a * (b - mean)**2 for a, b in zip(w, y, strict=True)) / (k - 1)) / sum(w)
    got = pool(y, s)
    assert np.isclose(got.mean, mean) and np.isclose(got.tau**2, tau2)
    assert np.isclose(got.interval[1] - got.mean, student.ppf(.975, k - 1) * error2**.5)
    reach = student.ppf(.975, k - 2) * (tau2 + error2)**.5
    assert np.isclose(got.predicted[0], mean - reach) and np.isclose(got.predicted[1], mean + reach)


def test_two_tables_predict_nothing_and_three_do(tmp_path):
    "Runs of tables with one spread: from the third on, the next table's gain has an interval."
    def stored(name, gain):
        seeds = [-.001, 0., .001]
        rows = [("DNN", design, 4, k, .8 + more + (design == "ME") * noise)
                for design, more in (("SE", 0.), ("ME", gain)) for k, noise in enumerate(seeds)]
        runs = pd.DataFrame(rows, columns=["model", "design", "scale", "seed", "test_auc"])
        runs = runs.assign(dataset=name, fingerprint=name, status="done", train_rows=90, dim=4, num_sets=1,
                           table_parameters=40)
        runs.to_csv(tmp_path / f"runs-{name}.csv", index=False)
    stored("one", .003)
    assert "One table does not tell the odds" in stored_evidence(tmp_path).sentences()[0]
    stored("two", .001)
    assert "the odds of a gain on another table cannot be told" in stored_evidence(tmp_path).sentences()[0]
    stored("three", .002)
    evidence = stored_evidence(tmp_path)
    row = evidence.frame().query("claim == 'me-beats-se'").iloc[0]
    assert row.tables == 3 and row.predicted_low < .001 < .003 < row.predicted_high and row.odds > .5
    assert "either sign is possible" in evidence.sentences()[0]
    np.testing.assert_allclose(evidence.known.query("claim == 'me-beats-se'").error, .001 / 3**.5)

def test_the_stored_studies_are_told_as_they_are():
    "Every table with its own number, that of added seeds too: their spread is of the first stage."
    evidence = stored_evidence()
    known = evidence.known.query("claim == 'me-beats-se'")
    assert set(known.model) >= {"DNN", "DCNv2"} and set(known.table) >= {"hflights", "synthetic"}
    said = "\n".join(evidence.sentences())
    for row in known.itertuples(): assert f"{row.table} {estimate(row.gain, row.low, row.high)}" in said
    for file in (ROOT / "data" / "results").glob("differences-*.csv"):
        table = pd.read_csv(file).query("kind == 'secondary'").set_index(["model", "scale"])
        mine = known[known.table == file.stem.removeprefix("differences-")].set_index(["model", "scale"])
        for cell, row in table.iterrows():
            np.testing.assert_allclose(mine.loc[cell, ["gain", "low", "high"]].to_numpy(float),
                                       row[["difference", "low", "high"]].to_numpy(float), atol=1e-9)
