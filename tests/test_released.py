"What the page on paper and released code says of the paper's tables follows from them."
import re
from pathlib import Path

import pandas as pd
import pytest

from collapse_nb.results import published

PAGE = Path(__file__).resolve().parents[1] / "docs" / "website" / "pages" / "released.md"
DROPPING, GAINING = ["DNN", "xDeepFM", "FinalMLP"], ["DCNv2", "NFwFM"]


def tables() -> pd.DataFrame: # one row per dataset, model, design; a column per size
    rows = pd.concat([published(name) for name in ("criteo", "avazu")])
    return rows.pivot_table(index=["dataset", "model", "design"], columns="scale", values="mean")

ALL = tables()
SE, ME = (ALL.xs(design, level="design") for design in ("SE", "ME"))
LAST = ME.ffill(axis=1).iloc[:, -1] # at its largest size

def row(start: str) -> str: # the right column
    line, = (line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {start}"))
    return line.split(" | ")[1]

def numbers(start: str) -> list[float]: return [float(n) for n in re.findall(r"\d\.\d{5}", row(start))]

def mean_of(values: pd.Series, models: list[str]) -> list[float]: # on Criteo, on Avazu
    return [values.loc[name].loc[models].mean() for name in ("criteo", "avazu")]


@pytest.mark.parametrize("start, expected", [
    ("the largest models gain", [(LAST - SE[1]).mean(), (ME[10] - SE[1]).mean()]),
    ("DNN, xDeepFM and FinalMLP drop", [-(SE[10] - best).loc[name].loc[DROPPING].min()
                                        for best in (SE[1], SE.max(axis=1)) for name in ("criteo", "avazu")]
     + mean_of(SE[1] - SE[10], DROPPING)),
    ("only DCNv2 and NFwFM gain", [(SE[10] - SE[1])["avazu", "IPNN"]]),
    ("ME is always highest", [ME.loc["criteo", "DNN"][4], ME.loc["criteo", "DNN"][10],
                              ME.loc["avazu", "FinalMLP"][4], ME.loc["avazu", "FinalMLP"][10],
                              ME.loc["criteo", "FinalMLP"][10]])])
def test_numbers_are_those_of_the_tables(start, expected):
    assert numbers(start) == pytest.approx(expected, abs=5.001e-6)


def test_what_is_said_without_a_number():
    assert (ME[10] - SE[1]).notna().sum() == 11 and len(LAST) == 12
    assert ME[10].isna()["avazu", "NFwFM"] and LAST["avazu", "NFwFM"] == ME[4]["avazu", "NFwFM"]
    best = {cell: list(sizes.index[sizes == sizes.max()]) for cell, sizes in ME.iterrows()}
    assert {cell: sizes for cell, sizes in best.items() if sizes != [10]} == {
        ("criteo", "DNN"): [4], ("criteo", "FinalMLP"): [4, 10], ("avazu", "FinalMLP"): [4],
        ("avazu", "NFwFM"): [4]}
    below = ME.lt(SE[1], axis=0)
    assert [(cell, size) for size in below for cell in below.index[below[size]]] == [
        (("criteo", "IPNN"), 2), (("criteo", "IPNN"), 3)]
    assert SE.loc["avazu", "IPNN"].drop(1).gt(SE.loc["avazu", "IPNN"][1]).all()


def test_gains_are_means_over_two_models():
    "The two pairs of numbers of the text; the first of Avazu is of the best size, as NFwFM has no 10x."
    found = [*mean_of(SE.max(axis=1) - SE[1], GAINING), *mean_of(LAST - SE[1], GAINING)]
    assert found == pytest.approx([.00036, .00090, .00099, .00202], abs=5.001e-6)
    # NFwFM's table at K = 500, in float32: Table 2 has 2.02 M values
    assert (round(2.02e6 * 500 * 4 / 1e9, 2), round(2.02e6 * 500 * 16 / 1e9, 1)) == (4.04, 16.2)
