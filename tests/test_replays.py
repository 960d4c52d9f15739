"Replays of all primary verdicts: which they are, and that a stopped one goes on where it was."
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))
import replays  # noqa: E402
from register import Register, again, listing, stored_findings, stored_replays  # noqa: E402

RESULTS = ROOT / "data" / "results"
app = replays.typer.Typer()
app.command()(replays.main)
PAIRS = "12 synthetic", "18 insteval", "19 synthetic" # of which 18 takes a file


@pytest.fixture
def results(tmp_path):
    "Stored findings of three notebooks, and the commands that made them."
    (folder := tmp_path / "results").mkdir()
    for pair in PAIRS: shutil.copy(RESULTS / f"findings-{pair.replace(' ', '-')}.csv", folder)
    commands = pd.read_csv(RESULTS / "commands.csv")
    numbered = commands["run"].str.replace(r"_\S+", "", regex=True)
    commands[numbered.isin(PAIRS)].to_csv(folder / "commands.csv", index=False)
    return folder

@pytest.fixture
def ran(monkeypatch, tmp_path):
    "What was run; a notebook leaves the stored findings with other seeds."
    done = []
    def execute(rerun, out):
        done.append(rerun.label)
        (place := out / rerun.label.replace(" ", "-")).mkdir(parents=True)
        found = pd.read_csv(RESULTS / f"findings-{rerun.label.replace(' ', '-')}.csv")
        found.assign(seeds=7).to_csv(place / f"findings-{rerun.label.replace(' ', '-')}.csv", index=False)
        return ""
    monkeypatch.setattr(replays, "execute", execute)
    monkeypatch.setattr(replays, "note", lambda *words: None)
    return done

def called(results, *words):
    return CliRunner().invoke(app, [*words, "--results", str(results), "--out", str(results.parent / "out")])


def test_the_primary_verdicts_are_the_first_and_settled_ones():
    first = replays.primary(stored_findings())
    assert not first.duplicated(["number", "dataset"]).any() and (first.number != "00").all()
    for row in first.itertuples():
        table = pd.read_csv(RESULTS / f"{row.stem}.csv")
        assert table["claim"][0] == row.claim and table["verdict"][0] in ("holds", "does not hold")


def test_what_is_kept_is_not_run_again_and_what_was_stopped_is(results, ran, monkeypatch):
    execute = replays.execute
    def stopped(rerun, out):
        if rerun.label == "19 synthetic": raise KeyboardInterrupt
        return execute(rerun, out)
    monkeypatch.setattr(replays, "execute", stopped)
    first = called(results)
    assert first.exit_code and ran == ["12 synthetic"]
    monkeypatch.setattr(replays, "execute", execute)
    second = called(results)
    assert second.exit_code == 0 and ran == ["12 synthetic", "19 synthetic"], second.output
    assert "18 insteval is left out: it needs insteval.csv.gz" in second.output
    rows = stored_replays(results)
    assert set(rows["number"] + " " + rows["dataset"]) == set(ran) and (rows["seeds"] == 7).all()
    assert called(results).exit_code == 0 and len(ran) == 2 # nothing is left
    third = called(results, "--only", "18 insteval", "--file", f"insteval={results}")
    assert third.exit_code == 0 and ran[-1] == "18 insteval"


def test_a_notebook_that_fails_is_a_sentence_and_the_others_go_on(results, ran, monkeypatch):
    execute = replays.execute
    monkeypatch.setattr(replays, "execute", lambda rerun, out: "12 synthetic failed: no memory" if
                        rerun.number == "12" else execute(rerun, out))
    found = called(results)
    assert found.exit_code == 1 and "12 synthetic failed: no memory" in found.output
    assert ran == ["19 synthetic"]
    assert set(stored_replays(results)["number"]) == {"19"}


@pytest.mark.parametrize("words, sentence", [
    (["--only", "18 hflights"], "unknown primary verdict '18 hflights'"),
    (["--file", "hflights=h.csv"], "unknown table for --file 'hflights'")])
def test_what_is_unknown_is_refused_before_anything_runs(results, ran, words, sentence):
    found = called(results, *words)
    assert str(found.exception).startswith(sentence) and not ran


def test_a_claims_findings_tell_of_their_replay(results, ran, tmp_path):
    called(results, "--only", "12 synthetic")
    (claims := tmp_path / "claims.toml").write_text('[[claim]]\nid = "1.1"\nplace = "§5"\nsays = "ME wins."\n'
                                                    'rows = ["12: *", "19: *"]\n')
    register = Register(claims, results)
    rows = register.rows(register.claims["1.1"])
    told = {number: [again(row) for _, row in part.iterrows()] for number, part in rows.groupby("number")}
    assert told["12"][0].startswith("7 new seeds: **") and all(told["12"]) and not any(told["19"])
    assert listing(rows).count("Replayed with 7 new seeds: ") == len(told["12"])
