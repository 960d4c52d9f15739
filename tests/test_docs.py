"""The scripts of docs/: what make results runs, what make figures draws, and the list of the paper's figures
in the README."""
import inspect
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import results
import verdicts
import yaml
from website.missing import lacking

import figures
from collapse_nb.records import InputError
from collapse_nb.train.parameters import assigned

ROOT = Path(__file__).resolve().parents[1]


def declared(number: str) -> set[str]:
    "The names in a notebook's parameters cell."
    notebook = json.loads(next((ROOT / "nbs").glob(f"{number}_*.ipynb")).read_text(encoding="utf-8"))
    cells = [c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", [])]
    return assigned("".join(cells[0]["source"]))


@pytest.mark.parametrize("number", results.NOTEBOOKS)
def test_full_runs_name_parameters_that_notebooks_have(number):
    for name, parameters in results.plan({"synthetic": "", "hflights": "h.csv"}, [number], [1, 4, 10]):
        assert name == number and set(parameters) | {"out_dir"} <= declared(number)


def test_notebook_01_prints_what_is_run(monkeypatch):
    monkeypatch.setattr(results, "GPU", False)
    cells = json.loads((ROOT / "nbs" / "01_information_abundance.ipynb").read_text(encoding="utf-8"))["cells"]
    printed, = re.findall(r"-y '(\{.*?\})'",
                          "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown"))
    assert yaml.safe_load(printed) == results.parameters("01", [1, 4, 10])


def test_every_study_runs_on_its_datasets():
    files = dict.fromkeys(["synthetic", "hflights", "diabetes130"], "")
    runs = [(number, parameters.get("dataset"))
            for number, parameters in results.plan(files, list(results.NOTEBOOKS), [1, 4])]
    studies = {dataset: {n for n, d in runs if d == dataset} for dataset in files}
    assert runs.count(("02", None)) == 1
    assert studies["synthetic"] == set(results.NOTEBOOKS) - {"02", "17", "18"}
    assert studies["hflights"] == studies["synthetic"] - {"19", "20"} | {"18"}
    assert studies["diabetes130"] == {"00", "03", "06", "15"}


def test_what_is_stored_of_studies_is_what_would_be_run_again():
    "Of notebooks that several tables have: a row of commands.csv for each, with its parameters."
    noted = pd.read_csv(results.RESULTS / "commands.csv").set_index("run").parameters
    for number in ("15", "17", "18", "19", "20"):
        there = {label.split()[1]: yaml.safe_load(noted[label]) for label in noted.index
                 if label.startswith(f"{number}_")}
        planned = {values["dataset"]: values for _, values in results.plan(dict.fromkeys(there, ""), [number],
                                                                           [1, 4, 10])}
        # paths aside: of a source a row has the file's name, and a plan has no folder for results
        ours, theirs = ({d: {name: v[name] for name in v.keys() - {"source", "out_dir"}}
                         for d, v in values.items()} for values in (planned, there))
        assert theirs and ours == theirs


def test_commands_are_noted_once(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    for seconds in (100., 7.4): results.note("03 hflights", "{seeds: 5}", seconds)
    results.note("01 hflights", "{seeds: 5}", 3)
    noted = pd.read_csv(tmp_path / "commands.csv")
    assert noted[["run", "seconds"]].values.tolist() == [["01 hflights", 3], ["03 hflights", 7]]


def test_what_is_drawn_takes_as_many_tables_as_it_names():
    registry = figures.registry()
    assert {"fig1a", "fig1b", "fig2", *(f"fig3{c}" for c in "abcdef"), "fig4", "fig5a", "fig5b", "fig5c",
            "fig6", "fig7",
            "fig8a", "fig8b", "fig8c", "fig8d"} <= set(registry)
    for draw, stems in registry.values(): inspect.signature(draw).bind(*stems)


@pytest.mark.parametrize("files, stems, expected", [
    (["a-x.csv", "b-x.csv", "a-y.csv"], ("a", "b"), ["-x"]),
    (["a.csv"], ("a",), [""]),
    (["a-more-x.csv", "a-x-1m.csv"], ("a",), ["-x-1m"]),
    ([], (), [""]),
    ([], ("a",), []),
])
def test_datasets_with_all_tables(tmp_path, monkeypatch, files, stems, expected):
    monkeypatch.setattr(figures, "RESULTS", tmp_path)
    for name in files: (tmp_path / name).touch()
    assert figures.sources(stems, {"a", "b", "a-more"}) == expected


@pytest.fixture
def stored(tmp_path, monkeypatch):
    "A copy of data/results, from which figures are drawn and verdicts judged."
    rows = Path(shutil.copytree(ROOT / "data" / "results", tmp_path / "results"))
    for script in figures, verdicts: monkeypatch.setattr(script, "RESULTS", rows)
    monkeypatch.setattr(figures, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr(figures, "width", len)
    return rows

def renamed(file: Path, column: str) -> None:
    table = pd.read_csv(file)
    assert column in table
    table.rename(columns={column: f"{column}_before"}).to_csv(file, index=False)


def test_a_figure_whose_table_is_broken_is_named_and_the_others_are_drawn(stored, monkeypatch):
    only = {name: figures.registry()[name] for name in ("difference", "fig7", "regimes")}
    monkeypatch.setattr(figures, "registry", lambda: only)
    drawn = []
    monkeypatch.setattr(figures.charts, "save",
                        lambda chart, name, folder: drawn.append(name) or folder / f"{name}.svg")
    assert figures.main([]) == []
    (stored / "differences-synthetic.csv").write_bytes(b"")
    renamed(stored / "runs-hflights.csv", "model")
    (stored / "regime-runs-synthetic.csv").write_bytes(b"\x89PNG\xff\xfe")
    (stored / "regimes-synthetic.csv").write_text("model,rows\n")
    whole = drawn.copy()
    drawn.clear()
    failed = figures.main([])
    names = ["difference-synthetic", "fig7-hflights", "fig7-synthetic", "regimes-synthetic"]
    assert sorted(line.split(":")[0] for line in failed) == names
    assert sorted(drawn) == sorted({*whole} - {*names}) and "difference-hflights" in drawn
    by_name = {line.split(":")[0]: line for line in failed}
    assert all("differences-synthetic.csv is no table" in by_name[n] for n in
               ("difference-synthetic", "fig7-synthetic"))
    assert "runs-hflights.csv" in by_name["fig7-hflights"] and "model" in by_name["fig7-hflights"]


def test_what_cannot_be_judged_is_named_and_the_rest_is_judged(stored, capsys, monkeypatch):
    few = {number: verdicts.STUDIES[number] for number in ("00", "01", "04", "06", "12")}
    monkeypatch.setattr(verdicts, "STUDIES", few)
    renamed(stored / "runs-hflights.csv", "model")
    (stored / "batch-spectra-hflights.csv").unlink()
    renamed(stored / "optimisers-hflights.csv", "table") # which is read as an attribute
    failed = verdicts.main(["hflights"])
    assert [line.split(":")[0] for line in failed] == ["01 hflights", "04 hflights", "06 hflights"]
    assert [word in line for word, line in zip(("table", "batch-spectra-hflights.csv", "model"), failed,
                                               strict=True)] == [True] * 3
    assert capsys.readouterr().out.split() == ["findings-00-hflights.csv"]

def test_an_unknown_dataset_is_refused_with_those_that_there_are(stored):
    with pytest.raises(InputError, match=r"unknown dataset 'hflight': did you mean 'hflights'.*synthetic"):
        verdicts.main(["hflight"])

@pytest.mark.parametrize("error, lost", [
    (KeyError("seeds"), "without seeds"), (KeyError("['a', 'b'] not in index"), "without a, b"),
    (KeyError("None of [Index(['a'], dtype='str')] are in the [columns]"), "without a:"),
    (AttributeError("'DataFrame' object has no attribute 'ia'"), "without ia"),
    (AttributeError("'Gallery' object has no attribute 'ia'"), None), (ZeroDivisionError("x"), None)])
def test_an_error_of_stored_tables_is_told_from_one_of_the_code(error, lost):
    said = lacking(error, "rows.csv")
    assert (said is None) if lost is None else lost in said and said.startswith("rows.csv is of an older")
