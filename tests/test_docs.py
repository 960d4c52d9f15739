"""The scripts of docs/: what make results runs, what make figures draws, and the list of the paper's figures
in the README."""
import inspect
import json
import re
from pathlib import Path

import pandas as pd
import pytest
import results
import yaml

import figures
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
    assert (runs.count(("02", None)) == 1 and ("03", "diabetes130") in runs
            and ("06", "diabetes130") not in runs)
    assert {n for n, d in runs if d == "synthetic"} == {n for n, d in runs
                                                        if d == "hflights"} == set(results.NOTEBOOKS) - {"02"}


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
