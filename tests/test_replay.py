"Replaying a claim: what is run again, resumed and judged, and what becomes of a verdict."
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from collapse_nb import replay as module
from collapse_nb.data.encode import encode
from collapse_nb.records import InputError
from collapse_nb.replay import FIRST_SEED, execute, replay

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "data" / "results"
CLAIMS = """
[[claim]]
id = "1.1"
place = "§5"
says = "Multi-embedding is better."
rows = ["06: DNN ME is best at *", "06: DNN ME beats SE at *"]
[[claim]]
id = "1.2"
place = "§5"
says = "Multi-embedding is simple."
nothing = "a matter of taste"
"""
FULL = {"source": "", "models": ["DNN", "DCNv2"], "scales": [1, 4, 10], "seeds": 5, "store": "runs/models"}
SMALL = {"models": ["DNN"], "scales": [1, 2], "seeds": 1, "max_epochs": 1, "store": "runs/models"}


@pytest.fixture
def stored(tmp_path):
    "Stored results of two tables, and a register of two claims."
    (results := tmp_path / "results").mkdir()
    for stem in ("findings-06", "differences"):
        for table in "hflights", "synthetic": shutil.copy(RESULTS / f"{stem}-{table}.csv", results)
    commands(results, {"06_scaling hflights": FULL | {"dataset": "hflights", "source": "hflights.csv.gz"},
                       "06_scaling synthetic": FULL | {"dataset": "synthetic"}})
    (claims := tmp_path / "claims.toml").write_text(CLAIMS)
    return {"results": results, "claims": claims, "out": tmp_path / "out", "say": lambda line: None}


def commands(results: Path, runs: dict[str, dict]) -> None:
    rows = [(run, yaml.safe_dump(words)) for run, words in runs.items()]
    pd.DataFrame(rows, columns=["run", "parameters"]).to_csv(results / "commands.csv", index=False)

def rows_of(rerun, out, verdicts):
    "What a notebook leaves: the stored tables with other verdicts."
    place = out / rerun.label.replace(" ", "-")
    place.mkdir(parents=True, exist_ok=True)
    for stem in ("findings-06", "differences"):
        table = pd.read_csv(RESULTS / f"{stem}-{rerun.dataset}.csv")
        if stem == "findings-06":
            table["verdict"] = [verdicts.get(claim, verdict) for claim, verdict
                                in zip(table.claim, table.verdict, strict=True)]
        table.to_csv(place / f"{stem}-{rerun.dataset}.csv", index=False)


def test_verdicts_are_set_side_by_side(stored):
    before = pd.read_csv(RESULTS / "findings-06-synthetic.csv").set_index("claim")["verdict"]
    best = next(claim for claim in before.index if claim.startswith("DNN ME is best at"))
    assert before[best] != "holds"
    def run(rerun, out):
        rows_of(rerun, out, {best: "holds"})
        return ""
    found = replay("1.1", {}, seeds=2, run=run, **stored)
    frame = found.frame.set_index("claim")
    assert set(frame["dataset"]) == {"synthetic"} and (frame.loc[best, ["before", "after"]].tolist()
                                                      == [before[best], "holds"])
    assert frame.loc[best, "outcome"] == ("is settled" if before[best] == "cannot tell" else "is overturned")
    others = frame.drop(best)
    assert len(others) and (others["outcome"] == "stands").all() # of the table of differences
    assert found.left_out == ["06 hflights is left out: it needs hflights.csv.gz; give it as --file "
                              "hflights=FILE."]
    assert len(pd.read_csv(stored["out"] / "verdicts.csv")) == len(frame)
    assert found.lines()[-2].startswith("claim 1.1: ") and found.lines()[-1] == found.left_out[0]


def test_one_table_that_fails_is_a_sentence_and_the_other_is_judged(stored, tmp_path):
    def run(rerun, out):
        if rerun.dataset == "hflights": return f"{rerun.label} failed: no memory"
        rows_of(rerun, out, {})
        return ""
    found = replay("1.1", {"hflights": str(tmp_path)}, seeds=2, run=run, **stored)
    assert found.left_out == ["06 hflights failed: no memory"]
    assert set(found.frame["dataset"]) == {"synthetic"}
    assert (found.frame["outcome"] == "stands").all()


@pytest.mark.parametrize("name, sentence", [
    ("1.3", r"unknown claim '1\.3': the nearest are 1\.\d \(Multi-embedding is"),
    ("1.2", "claim 1.2 was judged by no run \\(nothing to test: a matter of taste\\)")])
def test_what_cannot_be_replayed_is_a_sentence_and_runs_nothing(stored, name, sentence):
    run = lambda rerun, out: pytest.fail("it ran")
    with pytest.raises(InputError, match=sentence): replay(name, {}, run=run, **stored)
    assert not stored["out"].exists()


@pytest.mark.parametrize("table, sentence", [
    ("hflight", "unknown table for --file 'hflight': did you mean 'hflights'"),
    ("foo", "unknown table .* 'foo': Choose one of hflights"),
    ("synthetic", "unknown table .* 'synthetic': .*Choose one of hflights")]) # the notebook draws it
def test_a_file_of_a_table_that_the_claim_does_not_take_is_refused_at_once(stored, table, sentence):
    run = lambda rerun, out: pytest.fail("it ran")
    files = {"hflights": str(stored["results"]), table: str(stored["results"])}
    with pytest.raises(InputError, match=sentence): replay("1.1", files, run=run, **stored)
    assert not stored["out"].exists()


def test_a_file_is_refused_where_no_table_takes_one(stored):
    commands(stored["results"], {"06_scaling synthetic": FULL | {"dataset": "synthetic"}})
    run = lambda rerun, out: pytest.fail("it ran")
    with pytest.raises(InputError, match="no table of this claim takes one: leave --file out"):
        replay("1.1", {"synthetic": "s.csv"}, run=run, **stored)


def test_what_is_left_out_is_told_before_anything_runs(stored):
    told = []
    def run(rerun, out):
        told.append(f"{rerun.label} runs")
        return "it failed: no memory"
    found = replay("1.1", {}, run=run, **stored | {"say": told.append})
    assert told[0] == found.left_out[0] and "06 hflights is left out: it needs hflights.csv.gz" in told[0]
    assert told[-1] == "06 synthetic runs" and len(told) == 3


def test_without_a_checkout_it_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "home", lambda: tmp_path)
    with pytest.raises(InputError, match="is replayed in a checkout"): replay("5.2.5", {})


def test_a_notebook_is_run_with_new_seeds_and_patience_and_once_only(stored, tmp_path):
    (card := tmp_path / "own.toml").write_text('label = "y = 1"\nfields = ["user", "site"]\n')
    rows = [f"{i % 2},u{i * 7 % 31},s{(i + i % 2) % 5}" for i in range(800)]
    (table := tmp_path / "own.csv").write_text("\n".join(["y,user,site", *rows]))
    encode(card, table, tmp_path / "encoded")
    findings = pd.read_csv(RESULTS / "findings-06-synthetic.csv")
    findings.assign(claim="ME beats SE at 2x, DNN").head(1).to_csv(stored["results"] / "findings-06-own.csv")
    shutil.copy(RESULTS / "differences-synthetic.csv", stored["results"] / "differences-own.csv")
    commands(stored["results"], {"06_scaling own": SMALL | {"dataset": str(card), "source": "own.csv"}})
    stored["claims"].write_text(CLAIMS.replace("06: DNN ME is best at *", "06: ME beats SE at 2x, DNN"))
    files = {"own": str(tmp_path / "encoded")}
    found = replay("1.1", files, seeds=2, epochs=2, **stored)
    place = stored["out"] / "06-own"
    assert not any(" failed: " in line for line in found.left_out), (place / "log.txt").read_text()[-3000:]
    assert found.frame["claim"].tolist() == ["ME beats SE at 2x, DNN"]
    runs = pd.read_csv(place / "runs-own.csv")
    assert runs.groupby(["design", "scale"]).seed.apply(list).tolist() == [[FIRST_SEED, FIRST_SEED + 1]] * 3
    assert (runs.patience == 6).all() and len(list((stored["out"] / "store").glob("*/group.json"))) == 3
    before = {f: f.stat().st_mtime_ns for f in place.rglob("*")}
    again = replay("1.1", files, seeds=2, epochs=2, **stored)
    assert {f: f.stat().st_mtime_ns for f in place.rglob("*")} == before # it is done
    pd.testing.assert_frame_equal(again.frame, found.frame)


def test_a_notebook_that_fails_says_why(tmp_path):
    wrong = module.Rerun("06", "synthetic", {"dataset": "synthetic", "models": ["FNN"]})
    said = execute(wrong, tmp_path)
    assert said.startswith("06 synthetic failed: ") and "unknown model 'FNN'" in said, said
    assert not (tmp_path / "06-synthetic" / "done.yaml").exists() # so that it is tried again
