"""Redraw every file of figures/ from data/results (make figures).

    .venv/bin/python docs/figures.py          # all that have results
    .venv/bin/python docs/figures.py fig2     # one

A figure whose tables cannot be read, or are of an older schema, is named at the end, which is then not zero;
the others are drawn.
"""
import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import altair as alt
import pandas as pd
from website.missing import filled, lacking, lost_name

from collapse_nb import stats
from collapse_nb.records import InputError, unknown
from collapse_nb.results import published
from collapse_nb.show import charts

ROOT = Path(__file__).resolve().parents[1]
RESULTS, FIGURES = ROOT / "data" / "results", ROOT / "figures"
# the modules of collapse_nb.show that draw the paper's figures, each with a FIGURES of its own
MODULES = ("toy", "spectrum", "abundance", "evidence", "overfitting", "multi_embedding", "regimes", "ladder",
           "rivals", "cuts", "truths", "cost", "prediction", "pooled", "schedule", "speed")


def scaling(runs: pd.DataFrame, differences: pd.DataFrame) -> alt.TopLevelMixin:
    "AUC against size, with the published cells of the same dataset where there are some."
    alone = charts.by_model(differences)
    reading = (f"By model at {differences['scale'].iloc[0]}x: {alone}.",) if alone else ()
    return charts.scaling_chart(stats.cells(runs), charts.contrast_sentence(differences),
                                published(runs["dataset"].iloc[0]), reading=reading)

def gain(runs: pd.DataFrame, differences: pd.DataFrame) -> alt.TopLevelMixin:
    "What size adds to single-embedding, beside what it adds in the published cells."
    return charts.scaling_chart(stats.cells(runs), "", published(runs["dataset"].iloc[0]), designs=("SE",),
                                value="gain")

def difference(differences: pd.DataFrame, resampled: pd.DataFrame) -> alt.TopLevelMixin:
    return charts.difference_chart(differences, "", resampled)


def registry() -> dict[str, tuple[Callable, tuple[str, ...]]]:
    "Figure -> what draws it, and the stems of the result tables that it takes, in order."
    drawn = {"fig1a": (gain, ("runs", "differences")), "fig7": (scaling, ("runs", "differences")),
             "difference": (difference, ("differences", "resampled"))}
    for name in MODULES: drawn |= import_module(f"collapse_nb.show.{name}").FIGURES
    return drawn


def datasets(stem: str, stems: set[str]) -> set[str]:
    "Suffixes of the tables of a stem, such as `-hflights`; what belongs to a longer stem is not one of them."
    longer = [s for s in stems if s.startswith(f"{stem}-")]
    names = [f.stem for f in RESULTS.glob(f"{stem}-*.csv")]
    return {n.removeprefix(stem) for n in names if not any(n == s or n.startswith(f"{s}-") for s in longer)}


def sources(stems: tuple[str, ...], of_all: set[str]) -> list[str]:
    """The datasets that have a table for every stem, as suffixes of file names; an empty one without a
    dataset."""
    if all((RESULTS / f"{s}.csv").is_file() for s in stems): return [""]
    return sorted(set.intersection(*(datasets(s, of_all) for s in stems)))


def width(font: str) -> float:
    "How wide some letters are, in px, in a font or in what stands in for it."
    title = alt.TitleParams("millimetres" * 9, font=font)
    svg = charts.picture(alt.Chart(pd.DataFrame({"a": [1]})).mark_point().properties(title=title).to_dict())
    return float(re.search(r'width="([\d.]+)"', svg)[1])


def drawn_from(name: str, draw: Callable, stems: list[str]) -> alt.TopLevelMixin:
    "A figure out of its tables; an error of theirs names it and them."
    tables = {stem: filled(stem, RESULTS) for stem in stems}
    try: return draw(*tables.values())
    except Exception as error:
        lost = lost_name(error)
        without = [stem for stem, table in tables.items() if lost not in table] if lost else []
        said = lacking(error, " or ".join(f"{stem}.csv" for stem in without or tables))
        if not said: raise
        raise InputError(said) from error


def main(wanted: list[str]) -> list[str]:
    "Draws them; those that stored tables did not allow, a sentence each."
    first = charts.FONT.split(",")[0]
    if width(first) == width("no such font"):
        raise InputError(f"the figures are laid out for letters of {first}, which is not installed: install "
                         "it (Debian: apt-get install fonts-dejavu) and draw them again.")
    drawn = registry()
    of_all, failed = {stem for _, stems in drawn.values() for stem in stems}, []
    for name in wanted or drawn:
        if name not in drawn: raise unknown("figure", name, drawn)
        draw, stems = drawn[name]
        suffixes = sources(stems, of_all)
        for suffix in suffixes:
            try: chart = drawn_from(name, draw, [s + suffix for s in stems])
            except InputError as err:
                failed.append(f"{name + suffix}: {err}")
                continue
            print(charts.save(chart, name + suffix, FIGURES).relative_to(FIGURES.parent))
        if not suffixes:
            print(f"{name}: not drawn, data/results has no {' and '.join(stems)} of one dataset; "
                  "make results makes them")
    return failed


if __name__ == "__main__":
    try: failed = main(sys.argv[1:])
    except InputError as err: sys.exit(f"figures: {err}")
    if failed: sys.exit("\n".join(["not drawn:", *failed]))
