"The claims of the paper's notebooks, built once more from the tables that the full runs have stored."
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import t as student

from collapse_nb.claims import (
    arm_cells,
    arm_claims,
    arm_rows,
    auc_cells,
    batch_claims,
    bucket_rows,
    dnn_claims,
    frozen_claims,
    growth_claims,
    law_claims,
    mlp_claims,
    mlp_margins,
    optimiser_claims,
    random_table_claims,
    rank_slopes,
    regularised_claims,
    restriction_claims,
    set_abundance_claims,
    similarity_claims,
    small_field_claims,
    sweep_claims,
)
from collapse_nb.findings import COLUMNS, Measured, findings
from collapse_nb.overfitting import VIEWS

RESULTS = Path(__file__).resolve().parents[1] / "data" / "results"


def stored(stem: str) -> pd.DataFrame:
    "A stored table."
    return pd.read_csv(RESULTS / f"{stem}.csv")

def datasets_of(number: str) -> list[str]:
    "The datasets of a notebook's full runs."
    files = sorted(RESULTS.glob(f"findings-{number}-*.csv"))
    names = [file.stem.removeprefix(f"findings-{number}-") for file in files]
    assert names, "no full run is stored"
    return names

def assert_same_rows(ours: pd.DataFrame, theirs: pd.DataFrame, atol: float = 0., columns: tuple = ()) -> None:
    "Sentences and verdicts are the same; numbers are, but for what the rounding of the stored rows moves."
    texts = ["claim", "where", "paper", "verdict"]
    ours, theirs = (table[list(columns or COLUMNS)].reset_index(drop=True) for table in (ours, theirs))
    texts = [column for column in texts if column in theirs]
    pd.testing.assert_frame_equal(ours[texts].astype(object), theirs[texts].astype(object).fillna(""))
    numbers = [column for column in theirs if column not in texts and column != "p"]
    how = {"check_exact": True} if atol == 0 else {"rtol": 0, "atol": atol}
    pd.testing.assert_frame_equal(ours[numbers].astype(float), theirs[numbers].astype(float), **how)
    if "p" in theirs: # a small p is more sensitive than the value that it is of
        pd.testing.assert_series_equal(ours["p"].astype(float), theirs["p"].astype(float), rtol=1e-3)


@pytest.mark.parametrize("dataset", datasets_of("01"))
def test_findings_of_abundance_follow_from_the_stored_tables(dataset):
    tables, optimisers, hits, plain = (stored(f"{stem}-{dataset}") for stem in
                                       ("abundance", "optimisers", "hits", "scaling-dnn-dcnv2"))
    models, scales = tuple(tables.model.unique()), tuple(sorted(tables.scale.unique()))
    (model, size), = optimisers[["model", "scale"]].drop_duplicates().itertuples(index=False, name=None)
    # test AUC: of the plain runs, which are notebook 04's too, and of those under the other optimisers
    columns = ["model", "scale", "optimizer", "seed", "test_auc"]
    under = optimisers.rename(columns={"table": "optimizer"})[columns].dropna().drop_duplicates()
    runs = pd.concat([plain.assign(optimizer="Adam"), under[under.optimizer != "Adam"].assign(status="done")])
    cells = auc_cells(runs[runs.model.isin(models) & runs.scale.isin(scales)], "model", "scale", "optimizer")
    others = tuple(name for name in optimisers.table.unique() if name not in ("Adam", "random"))
    rows = random_table_claims(tables, models[0], max(scales)) + growth_claims(tables, models, scales)
    rows += small_field_claims(tables, models[0], max(scales))
    rows += optimiser_claims(optimisers, bucket_rows(hits), cells, model, size, others)
    # abundances were stored with five decimals
    assert_same_rows(findings(rows), stored(f"findings-01-{dataset}"), atol=1e-4)


def from_ends(value: float, low: float, high: float, fields: int) -> Measured:
    "What has these ends, of a jackknife over fields."
    return Measured(value, (high - low) / 2 / student.ppf(.975, fields - 1), fields - 1)

@pytest.mark.parametrize("dataset", datasets_of("03"))
def test_findings_of_the_law_follow_from_the_stored_rows(dataset):
    """Stored of the law in trained models are its own numbers, and by how much it exceeds shuffled labels.

    So p, which is adjusted for all claims, is held from below only; a verdict may have been taken away."""
    law, pairs, all_rows = (stored(f"{stem}-{dataset}") for stem in ("law", "sub-embeddings", "findings-03"))
    fields, rows = pairs.field.nunique(), []
    for model in law.model.unique():
        trained = law[(law.model == model) & (law.state == "trained")]
        of_law, of_partial = (trained[trained.statistic == statistic].iloc[0]
                              for statistic in ("rank correlation", "at equal cardinality"))
        numbers = {"law": (from_ends(*of_law[["mean", "low", "high"]], fields), of_law.p),
                   "partial": (from_ends(*of_partial[["mean", "low", "high"]], fields), of_partial.p),
                   "shuffled": (from_ends(*of_law[["gap", "gap_low", "gap_high"]], fields), None)}
        rows += [row for row in law_claims(model, numbers) if row["verdict"] != "not run here"]
    assert len(rows) == 3 * law.model.nunique()
    causal, slopes = RESULTS / f"causal-{dataset}.csv", {}
    if causal.is_file():
        by_rank = stored(f"causal-{dataset}").pivot(index=["outcome", "seed"], columns="rank", values="ia")
        slopes = rank_slopes(by_rank)
    ours = pd.DataFrame(rows + frozen_claims(slopes)).set_index("claim", drop=False)
    theirs = all_rows.set_index("claim", drop=False).loc[ours.index]
    # both tables were stored with six decimals
    assert_same_rows(ours, theirs, atol=1e-5, columns=("claim", "where", "value", "low", "high", "paper"))
    assert ((ours.verdict == theirs.verdict) | (theirs.verdict == "cannot tell")).all()
    assert (theirs.p.isna() == ours.p.isna()).all() and not (theirs.p < ours.p * (1 - 1e-3)).any()


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


@pytest.mark.parametrize("dataset", datasets_of("05"))
def test_findings_of_multi_embedding_follow_from_the_stored_rows(dataset):
    """All but those on the variety of sets, of which no row per seed is stored; so p, which counts all, is
    not."""
    stems = ("sets-abundance", "controls", "control-arms", "similarity", "restriction", "hidden",
             "hidden-margins")
    tables = {stem: stored(f"{stem}-{dataset}") for stem in stems}
    all_rows, abundance = stored(f"findings-05-{dataset}"), tables["sets-abundance"]
    sizes, control_scale = sorted(abundance.scale.unique(), reverse=True), tables["restriction"].scale.iloc[0]
    changes = list(tables["hidden"][["what", "value"]].drop_duplicates().itertuples(index=False, name=None))
    cells = arm_cells(tables["controls"], tables["hidden"])
    rows = set_abundance_claims(abundance, sizes, control_scale)
    rows += restriction_claims(cells, tables["restriction"], control_scale)
    rows += arm_claims(cells, control_scale) + similarity_claims(tables["similarity"])
    rows += mlp_claims(cells, changes)
    ours = pd.DataFrame(rows)
    without = all_rows["where"].str.contains("^App., |, Fig. 8[bc]$")
    assert_same_rows(ours, all_rows[~without], columns=("claim", "where", "value", "low", "high", "paper"))
    pd.testing.assert_frame_equal(arm_rows(tables["controls"], cells, control_scale), tables["control-arms"],
                                  check_exact=True)
    margins = mlp_margins(cells, changes, all_rows)
    pd.testing.assert_frame_equal(margins, tables["hidden-margins"], check_exact=True)
    # Holm's rule takes a verdict away, and never gives one
    theirs = ours.claim.map(all_rows.set_index("claim").verdict)
    assert ((ours.verdict == theirs) | (theirs == "cannot tell")).all()
