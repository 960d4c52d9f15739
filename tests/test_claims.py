"The claims of the paper's notebooks, built once more from the tables that the full runs have stored."
from pathlib import Path

import pandas as pd
import pytest

from collapse_nb.claims import (
    batch_claims,
    dnn_claims,
    regularised_claims,
    sweep_claims,
)
from collapse_nb.findings import COLUMNS, findings
from collapse_nb.overfitting import VIEWS

RESULTS = Path(__file__).resolve().parents[1] / "data" / "results"


def stored(stem: str) -> pd.DataFrame:
    "A stored table."
    return pd.read_csv(RESULTS / f"{stem}.csv")

def datasets_of(number: str) -> list[str]:
    "The datasets of a notebook's full runs."
    names = [file.stem.removeprefix(f"findings-{number}-") for file in sorted(RESULTS.glob(f"findings-{number}-*.csv"))]
    assert names, "no full run is stored"
    return names

def assert_same_rows(ours: pd.DataFrame, theirs: pd.DataFrame, atol: float = 0., columns: tuple = ()) -> None:
    "Sentences and verdicts are the same; numbers are, but for what the rounding of the stored rows moves."
    texts = ["claim", "where", "paper", "verdict"]
    ours, theirs = (table[list(columns or COLUMNS)].reset_index(drop=True) for table in (ours, theirs))
    texts = [column for column in texts if column in theirs]
    pd.testing.assert_frame_equal(ours[texts], theirs[texts].fillna(""))
    numbers = [column for column in theirs if column not in texts and column != "p"]
    pd.testing.assert_frame_equal(ours[numbers].astype(float), theirs[numbers].astype(float), rtol=0, atol=atol,
                                  check_exact=atol == 0)
    if "p" in theirs: pd.testing.assert_series_equal(ours["p"].astype(float), theirs["p"].astype(float), rtol=1e-3)


@pytest.mark.parametrize("dataset", datasets_of("04"))
def test_findings_of_overfitting_follow_from_the_stored_runs(dataset):
    regularised, plain, spectra = (stored(f"{stem}-{dataset}") for stem in
                                   ("regularised", "scaling-dnn-dcnv2", "batch-spectra"))
    runs = pd.concat([regularised, plain[plain.model == "DNN"]], ignore_index=True)
    scales = tuple(sorted(plain.scale.unique()))
    regularised_scales = tuple(sorted(regularised.scale[regularised.form == "paper"].unique()))
    rows = regularised_claims(runs, regularised_scales) + sweep_claims(runs)
    rows += dnn_claims(runs, scales) + batch_claims(spectra, VIEWS[1:], scales)
    # the runs were stored with seven decimals
    assert_same_rows(findings(rows), stored(f"findings-04-{dataset}"), atol=1e-6)
