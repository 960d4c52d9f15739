"Numbers, intervals and verdicts in words: the awkward cases, and that nothing words them a second time."
import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest

from collapse_nb.show import sentences
from collapse_nb.show.tables import findings_table

ROOT = Path(__file__).resolve().parents[1]
NAN, INFINITE, TINY = math.nan, math.inf, 1e-300
P = "p\u00a0=\u00a0"


@pytest.mark.parametrize("text, expected", [
    (sentences.number(0., 2), "0.00"),
    (sentences.number(-0., 2), "0.00"),
    (sentences.number(-.004, 2), "0.00"),
    (sentences.number(-.006, 2), "−0.01"),
    (sentences.number(NAN), "–"),
    (sentences.number(INFINITE), "+∞"),
    (sentences.number(-INFINITE, plus=False), "−∞"),
    (sentences.number(1_086_810, 0, plus=False), "1,086,810"),
    (sentences.number(999.9996, 3), "+1,000.000"),
    (sentences.interval(NAN, 1.), "–"),
    (sentences.interval(-INFINITE, INFINITE), "−∞ to +∞"),
    (sentences.interval(0., 0.), "0.000 to 0.000"),
    (sentences.interval(-.0039, .279), "−0.004 to +0.279"),
    (sentences.interval(9.5, 10.5, plus=False), "9.50 to 10.50"),
    (sentences.estimate(10.41, 10.35, 10.47), "+10.410 (+10.350 to +10.470)"),
    (sentences.estimate(.00123, NAN, NAN, "AUC"), "+0.00123 AUC (no interval)"),
    (sentences.estimate(NAN, NAN, NAN), "– (no interval)"),
    (sentences.estimate(.978, .932, 1.024, bounds=(-1, 1)), "+0.978 (+0.932 to +1.000)"),
    (sentences.estimate(-.9, -1.3, -.5, bounds=(-1, 1)), "−0.90 (−1.00 to −0.50)"),
    (sentences.ratio(2.2e-8, 1.6e-10, 2.9e-6), "2.2e-08 (1.6e-10 to 2.9e-06)"),
    (sentences.p_value(0.), "< .0001"),
    (sentences.p_value(TINY), "< .0001"),
    (sentences.p_value(1.), "1.000"),
    (sentences.p_value(NAN), "–"),
    (sentences.percent(0.), "0%"),
    (sentences.percent(.995, 1), "99.5%"),
    (sentences.percent(NAN), "–"),
])
def test_awkward_numbers(text, expected): assert text == expected


@pytest.mark.parametrize("row, alone, expected", [
    (("holds", .2, .1, .3, .01), "", f"holds, +0.20 (95 % interval +0.10 to +0.30), {P}.010"),
    (("does not hold", -.2, -.3, -.1, TINY), "",
     "does not hold, −0.20 (95 % interval −0.30 to −0.10), p\u00a0<\u00a0.0001"),
    (("cannot tell", .2, .1, .3, .06), "holds",
     "cannot tell, +0.20 (95 % interval +0.10 to +0.30); at face value yes; "
     f"not among 2 tests, {P}.060"),
    (("cannot tell", .2, .1, .3, .06), "does not hold",
     "cannot tell, +0.20 (95 % interval +0.10 to +0.30); at face value no; "
     f"not among 2 tests, {P}.060"),
    (("cannot tell", .2, .1, .3, .06), "cannot tell",
     f"cannot tell, +0.20 (95 % interval +0.10 to +0.30), {P}.060"),
    (("cannot tell", .0, -.1, .1, .9), "", f"cannot tell, 0.00 (95 % interval −0.10 to +0.10), {P}.900"),
    (("cannot tell", .2, NAN, NAN, NAN), "", "cannot tell, +0.200 (no interval)"),
    (("not run here", NAN, NAN, NAN, NAN), "", "not run here"),
])
def test_verdicts(row, alone, expected):
    "The first row of a table is its primary claim, so two of these three are corrected for each other."
    table = pd.DataFrame([("primary", "holds", 1., .5, 1.5, .01, "holds"), ("claim", *row, alone),
                          ("other", "cannot tell", 0., -1., 1., .9, "cannot tell")],
                         columns=["claim", "verdict", "value", "low", "high", "p", "alone"])
    assert sentences.tests_in(table) == (1 if math.isnan(row[-1]) else 2)
    assert sentences.verdict_of(table, "claim") == f"Claim: {expected}"


def test_a_table_of_findings_says_what_the_correction_took_away():
    table = pd.read_csv(ROOT / "data" / "results" / "findings-04-hflights.csv")
    lost = table[(table.verdict == "cannot tell") & table.alone.isin(["holds", "does not hold"])]
    places = ", ".join(str(place + 1) for place in lost.index)
    caption = findings_table(table).caption
    sentence = f"In {places} the interval decides at face value; not among {sentences.tests_in(table)} tests."
    assert len(lost) and sentence in caption


def sources() -> dict[str, str]:
    "Code of every notebook, by its path below nbs."
    files = [f for f in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in f.parts]
    cells = {f: json.loads(f.read_text(encoding="utf-8"))["cells"] for f in files}
    return {f.relative_to(ROOT / "nbs").as_posix(): "\n".join("".join(c["source"])
                                                              for c in of if c["cell_type"] == "code")
            for f, of in cells.items()}

@pytest.mark.parametrize("pattern, home", [
    (r'\.replace\("-", "−"\)',
     {"claims/overfitting.ipynb", "claims/scaling.ipynb"}),  # there they write the paper's numbers
    (r"datum\.value \+ 'x'", {"show/charts.ipynb"}),
    (r"def say\(", {"show/notices.ipynb"}),
    (r"Every parameter is at its default", {"show/notices.ipynb"}),
    (r"seeds are provisional", {"show/notices.ipynb"}),
])
def test_a_thing_is_worded_in_one_place(pattern, home):
    assert {name for name, source in sources().items() if re.search(pattern, source)} == home
