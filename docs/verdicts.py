"""Judge again what data/results has rows of, by run or by seed: intervals, verdicts, and what each could have
seen (make verdicts). Nothing is trained. Where the rows behind a number were not stored, its interval stays.

    .venv/bin/python docs/verdicts.py            # all datasets
    .venv/bin/python docs/verdicts.py hflights   # one
"""
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t as student
from website.missing import AGAIN, lacking

from collapse_nb import stats
from collapse_nb.claims.abundance import (
    bucket_rows,
    catalyst_claims,
    growth_claims,
    growth_exponents,
    low_rank_claims,
    optimiser_claims,
    optimiser_intervals,
    random_table_claims,
    small_field_claims,
    table_intervals,
    with_field_means,
)
from collapse_nb.claims.interaction import frozen_claims, rank_slopes, sub_embedding_claims
from collapse_nb.claims.overfitting import (
    batch_claims,
    dnn_claims,
    overfitting_claims,
    regularised_claims,
    sweep_claims,
)
from collapse_nb.claims.regimes import regime_claims, regime_contrasts
from collapse_nb.claims.scaling import (
    ARM_TABLES,
    abundance_arms,
    abundance_auc,
    abundance_auc_claims,
    cost_claims,
    cost_rows,
    scaling_claims,
    size_claims,
)
from collapse_nb.claims.sets import (
    ARM,
    BASE_MLP,
    MLP,
    algebra_claims,
    arm_claims,
    arm_rows,
    mlp_claims,
    mlp_margins,
    restriction_claims,
    set_abundance_claims,
    similarity_claims,
    without_gain_no_loss,
)
from collapse_nb.claims.toy import TOY_TABLES, toy_claims
from collapse_nb.cuts import cut_claims, cut_rows
from collapse_nb.evidence import Correlation
from collapse_nb.findings import COLUMNS, Measured, auc_cells, finding, findings, with_later_claims
from collapse_nb.general_law import general_claims, general_rows, large_field_claims
from collapse_nb.ladder import step_claims, step_rows
from collapse_nb.multi_embedding import appendix_proofs
from collapse_nb.overfitting import VIEWS
from collapse_nb.prediction import prediction_claims, prediction_rows, prediction_tiles
from collapse_nb.records import InputError, unknown
from collapse_nb.results import read_table, save_table
from collapse_nb.rivals import remedy_claims, remedy_rows
from collapse_nb.show.evidence import SMALL_RHO
from collapse_nb.show.multi_embedding import VARIOUS
from collapse_nb.show.tables import bounds_of
from collapse_nb.study import pool_studies, pooled_claims
from collapse_nb.truths import truth_claims, truth_rows

RESULTS = Path(__file__).resolve().parents[1] / "data" / "results"
POOLED = "pooled" # the name of all tables together
SIGHT = ["seeds", "seeds_left_out", "half_width", "detectable", "sought", "seeds_needed"]


def stored(stem: str) -> pd.DataFrame:
    "A table of results."
    return read_table(stem, RESULTS)

def from_ends(row, df: float, seeds: float = np.nan) -> Measured:
    "What has these ends, of a t interval."
    return Measured(row.value, (row.high - row.low) / 2 / student.ppf(.975, df), df, seeds)

def spread_out(table: pd.DataFrame) -> pd.DataFrame:
    "A table of findings that was stored before it said what it could have seen."
    table = table.reindex(columns=COLUMNS).astype({"paper": object, "note": object, "alone": object})
    return table.fillna({"paper": "", "note": "", "alone": table["verdict"]})


def beside_stored(stem: str, intervals: pd.DataFrame, places: int) -> pd.DataFrame:
    "A stored table of intervals with new ends of its differences; the rounding of rows moves nothing else."
    table = stored(stem)
    keys = ["model", "scale", "dim", "field", "measure", "table"]
    pd.testing.assert_frame_equal(intervals[keys], table[keys], check_dtype=False)
    is_difference = table.table.str.contains(" − ")
    ends = intervals[["low", "high"]].round(places)
    return table.assign(low=table.low.mask(is_difference, ends.low),
                        high=table.high.mask(is_difference, ends.high)).astype({"cardinality": "Int64"})

def preliminaries(dataset: str) -> dict[str, pd.DataFrame]:
    "Notebook 00, which counts, and has no intervals."
    return {"findings-00": spread_out(stored(f"findings-00-{dataset}"))}

def toy(_: str) -> dict[str, pd.DataFrame]:
    "Notebook 02: all of it from values by seed."
    return {"findings-02": findings(toy_claims(*map(stored, TOY_TABLES)))}

def abundance(dataset: str) -> dict[str, pd.DataFrame]:
    "Notebook 01."
    tables, optimisers, hits, plain = (stored(f"{stem}-{dataset}") for stem in
                                       ("abundance", "optimisers", "hits", "scaling-dnn-dcnv2"))
    models, scales = tuple(tables.model.unique()), tuple(sorted(tables.scale.unique().tolist()))
    (model, size), = optimisers[["model", "scale"]].drop_duplicates().itertuples(index=False, name=None)
    # test AUC: of the plain runs, which are notebook 04's too, and of those under the other optimisers
    columns = ["model", "scale", "optimizer", "seed", "test_auc"]
    under = optimisers.rename(columns={"table": "optimizer"})[columns].dropna().drop_duplicates()
    runs = pd.concat([plain.assign(optimizer="Adam"), under[under.optimizer != "Adam"].assign(status="done")])
    cells = auc_cells(runs[runs.model.isin(models) & runs.scale.isin(scales)], "model", "scale", "optimizer")
    others = tuple(name for name in optimisers.table.unique() if name not in ("Adam", "random"))
    rows = random_table_claims(tables, models[0], max(scales)) + low_rank_claims(tables, models, max(scales))
    rows += growth_claims(tables, models, scales)
    rows += small_field_claims(tables, models[0], max(scales))
    rows += optimiser_claims(optimisers, bucket_rows(hits), cells, model, size, others)
    growth = [(*key, small, large, *ends) for key, (small, large, ends) in growth_exponents(tables).items()]
    columns = ["model", "table", "from_dim", "to_dim", "value", "low", "high"]
    means = with_field_means(tables, tables.dim.max())
    spans, under = table_intervals(means, "random"), optimiser_intervals(optimisers, cells)
    return {"abundance-intervals": beside_stored(f"abundance-intervals-{dataset}", spans, 5),
            "optimisers-intervals": beside_stored(f"optimisers-intervals-{dataset}", under, 6),
            "growth": pd.DataFrame(growth, columns=columns), "findings-01": findings(rows)}

ROUNDED = 3e-6 # of ends that are stored with six decimals

def is_on_fishers_scale(value: float, low: float, high: float) -> bool:
    "Whether a correlation's interval was taken on Fisher's scale; a plain one is as long on both sides."
    if abs(low + high - 2 * value) > ROUNDED: return True
    if not (-1 < low and high < 1): return False
    return abs(np.tanh(2 * np.arctanh(value) - np.arctanh(low)) - high) < ROUNDED # short, or around zero

def effect_of(claim: str) -> float:
    "The effect that a claim says would matter; zero for one that names none."
    named = re.search(r"\(([\d.]+) or more would matter\)", claim)
    return float(named[1]) if named else 0.

def of_fields(value: float, low: float, high: float, fields: int) -> Correlation:
    "A stored correlation over fields on Fisher's scale; runs from before it have plain intervals."
    half = student.ppf(.975, fields - 1)
    if is_on_fishers_scale(value, low, high):
        nearer_zero = low if value > 0 else high # which rounding moves less
        return Correlation(value, abs(np.arctanh(value) - np.arctanh(nearer_zero)) / half, fields - 1)
    return Correlation(value, (high - low) / 2 / half / (1 - value**2), fields - 1)

def law(dataset: str) -> dict[str, pd.DataFrame]:
    """Notebook 03. Verdicts on the law are over fields and stay; their intervals are put on Fisher's scale,
    what they could have seen follows from them, and what the frozen tables could follows from the seeds.
    Claims that were thought of later follow from the stored matrices."""
    pairs, marginals, table, laws = (stored(f"{stem}-{dataset}") for stem in
                                     ("sub-embeddings", "sub-embedding-marginals", "findings-03", "law"))
    later = sub_embedding_claims(pairs, marginals)
    table = table[~table.claim.isin([row["claim"] for row in later])] # as judged before
    fields, table, frozen = pairs.field.nunique(), spread_out(table), {}
    if (RESULTS / f"causal-{dataset}.csv").is_file():
        by_rank = stored(f"causal-{dataset}").pivot(index=["outcome", "seed"], columns="rank", values="ia")
        frozen = {row["claim"]: row for row in frozen_claims(rank_slopes(by_rank))}
    for place, row in zip(table.index, table.itertuples(), strict=True):
        if np.isnan(row.low): continue
        ends = row.value, row.low, row.high
        measured = of_fields(*ends, fields) if bounds_of(row.claim) else from_ends(row, fields - 1)
        over_fields = finding("", "", measured, sought=SMALL_RHO)
        table.loc[place, SIGHT] = pd.Series(frozen.get(row.claim, over_fields))[SIGHT]
        low, high = measured[1:] if bounds_of(row.claim) and not is_on_fishers_scale(*ends) else ends[1:]
        table.loc[place, ["low", "high"]] = low, high
        table.loc[place, "half_width"] = (high - low) / 2 # rows by seed have six decimals
        table.loc[place, "alone"] = stats.verdict(low, high, effect=effect_of(row.claim))
        if bounds_of(row.claim) and row.verdict != table.loc[place, "alone"]:
            table.loc[place, "verdict"] = "cannot tell" # taken away by Holm, or not seen on Fisher's scale
    needed = table.seeds_needed.where(table.verdict == "cannot tell")
    spans = [ends[1:] if is_on_fishers_scale(*ends) else of_fields(*ends, fields)[1:]
             for ends in laws[["mean", "low", "high"]].to_numpy()]
    spans = pd.DataFrame(spans, columns=["low", "high"]).round(6)
    return {"law": laws.assign(**spans),
            "findings-03": with_later_claims(table.assign(seeds_needed=needed), later)}

def overfitting(dataset: str) -> dict[str, pd.DataFrame]:
    "Notebook 04."
    regularised, plain, spectra = (stored(f"{stem}-{dataset}") for stem in
                                   ("regularised", "scaling-dnn-dcnv2", "batch-spectra"))
    runs = pd.concat([regularised, plain[plain.model == "DNN"]], ignore_index=True)
    scales = tuple(sorted(plain.scale.unique()))
    rows = regularised_claims(runs, tuple(sorted(regularised.scale[regularised.form == "paper"].unique())))
    rows += sweep_claims(runs) + dnn_claims(runs, scales) + batch_claims(spectra, VIEWS[1:], scales)
    rows += catalyst_claims(stored(f"abundance-{dataset}"), scales) + overfitting_claims(runs, scales)
    return {"findings-04": findings(rows)}

def of_sets(row, seeds: int) -> dict:
    """A claim on the variety of sets, whose values by seed were not stored, from its interval: with n − 1
    degrees of freedom, the fewest that there can be."""
    limit = VARIOUS if row.claim.startswith("sets of one ME vary in IA, by") else 0.
    return finding(row.claim, row.where, from_ends(row, seeds - 1, seeds), limit=limit)

def multi_embedding(dataset: str) -> dict[str, pd.DataFrame]:
    "Notebook 05."
    tables = {stem: stored(f"{stem}-{dataset}") for stem in
              ("sets-abundance", "controls", "similarity", "restriction", "hidden", "findings-05")}
    sizes = sorted(tables["sets-abundance"].scale.unique(), reverse=True)
    control_scale, seeds = tables["restriction"].scale.iloc[0], tables["controls"].seed.nunique()
    cells, mlps = auc_cells(tables["controls"], *ARM), auc_cells(tables["hidden"], *MLP)
    changes = [cell for cell in mlps if cell[1:] != BASE_MLP]
    rows = set_abundance_claims(tables["sets-abundance"], sizes, control_scale)
    rows += restriction_claims(cells, tables["restriction"], control_scale)
    rows += arm_claims(cells, control_scale) + similarity_claims(tables["similarity"])
    rows += mlp_claims(mlps, changes)
    by_claim = {row["claim"]: row for row in rows}
    listed = spread_out(tables["findings-05"])
    algebra = listed["where"].str.startswith("App., non-linearity")
    assert set(by_claim) <= set(listed.claim), "data/results has other claims than the library: make results"
    in_order = [by_claim.get(row.claim) or (finding(row.claim, row.where, (row.value,) * 3, row.paper)
                                            | {"verdict": row.verdict} if is_algebra else of_sets(row, seeds))
                for row, is_algebra in zip(listed.itertuples(), algebra, strict=True)]
    proofs = algebra_claims({proof.claim: proof.difference for proof in appendix_proofs()})
    proved_since = [row for row in proofs if row["claim"] not in set(listed.claim)]
    table = without_gain_no_loss(findings(in_order + proved_since), control_scale)
    return {"control-arms": arm_rows(tables["controls"], cells, control_scale), "findings-05": table,
            "hidden-margins": mlp_margins(mlps, changes, table)}

def scaling(dataset: str) -> dict[str, pd.DataFrame]:
    """Notebook 06, but for what test rows add: that takes their logits. Abundance beside AUC is of rows of
    notebooks 01, 04 and 05, and left out where one of them was not run. Of all tables together, what they
    say of the average table and of a new one."""
    if dataset == POOLED:
        evidence = pool_studies(sorted(RESULTS.glob("runs-*.csv")))
        return {"scaling": evidence.frame(), "scaling-tables": evidence.known,
                "findings-06": findings(pooled_claims(evidence))}
    runs = stored(f"runs-{dataset}")
    tables = {"table1": stats.cells(runs), "differences": stats.contrasts(runs), "cost": cost_rows(runs)}
    stems = [f"{stem}-{dataset}" for stem in ARM_TABLES]
    rows = scaling_claims(runs, dataset) + size_claims(runs, dataset)
    if all((RESULTS / f"{stem}.csv").is_file() for stem in stems):
        tables["abundance-auc"] = abundance_auc(abundance_arms(*map(stored, stems)))
        rows += abundance_auc_claims(tables["abundance-auc"])
    return tables | {"findings-06": with_later_claims(findings(rows), cost_claims(runs))}

def regimes(dataset: str) -> dict[str, pd.DataFrame]:
    "Notebook 12."
    runs = stored(f"regime-runs-{dataset}")
    return {"regimes": regime_contrasts(runs), "findings-12": findings(regime_claims(runs))}

def ladder(dataset: str) -> dict[str, pd.DataFrame]:
    "Notebook 15."
    runs = stored(f"ladder-runs-{dataset}")
    cells = auc_cells(runs, "model", "arm")
    scale = int(runs["scale"].max())
    steps = step_rows(cells).assign(dataset=dataset, scale=scale)
    return {"ladder-steps": steps, "findings-15": findings(step_claims(cells, runs["model"].unique(), scale))}

def rivals(dataset: str) -> dict[str, pd.DataFrame]:
    "Notebook 17."
    runs = stored(f"rival-runs-{dataset}")
    cells = {key: part.set_index("seed") for key, part in runs.groupby(["model", "arm"], sort=False)}
    scale = int(runs["scale"].max())
    rows = remedy_rows(cells).assign(dataset=dataset, scale=scale)
    return {"rivals": rows, "findings-17": findings(remedy_claims(cells, runs["model"].unique(), scale))}

def cuts(dataset: str) -> dict[str, pd.DataFrame]:
    "Notebook 18."
    scores = stored(f"cut-scores-{dataset}")
    return {"cuts": cut_rows(scores).assign(dataset=dataset),
            "findings-18": findings(cut_claims(scores, int(scores["scale"].max())))}

def truths(dataset: str) -> dict[str, pd.DataFrame]:
    "Notebook 20."
    runs = stored(f"truth-runs-{dataset}")
    claims = truth_claims(runs, runs["model"].unique(), int(runs["scale"].max()))
    return {"truths": truth_rows(runs).assign(dataset=dataset), "findings-20": findings(claims)}

def general_law(dataset: str) -> dict[str, pd.DataFrame]:
    "Notebook 19."
    runs = stored(f"frozen-runs-{dataset}")
    return {"general": general_rows(runs).assign(dataset=dataset),
            "findings-19": with_later_claims(findings(general_claims(runs)), large_field_claims(runs))}

def prediction(_: str) -> dict[str, pd.DataFrame]:
    "Notebook 16: of all tables together."
    rows = prediction_rows(pd.concat([stored(file.stem) for file in sorted(RESULTS.glob("measures-*.csv"))]))
    verdicts = findings(prediction_claims(rows))
    return {"prediction": rows, "findings-16": verdicts, "prediction-tiles": prediction_tiles(rows, verdicts)}

STUDIES = {"00": preliminaries, "01": abundance, "02": toy, "03": law, "04": overfitting,
           "05": multi_embedding, "06": scaling, "12": regimes, "15": ladder, "16": prediction, "17": rivals,
           "18": cuts, "19": general_law, "20": truths}


def datasets(number: str) -> list[str]:
    """Those of a notebook's full runs; the toy's has none, and an empty name. docs/evidence_runs.py adds
    tables to what 06 and 16 are of, and judges none; 06 is of each and of all together, 16 of all."""
    stem = {"06": "runs-", "16": "measures-"}.get(number, f"findings-{number}")
    names = [file.stem.removeprefix(stem).removeprefix("-") for file in sorted(RESULTS.glob(f"{stem}*.csv"))]
    if number == "16": return [POOLED] * bool(names)
    return [*names, POOLED] if number == "06" and len(names) > 1 else names

def main(wanted: list[str]) -> list[str]:
    "Judges them; those that stored tables did not allow, a sentence each."
    there, failed = {number: datasets(number) for number in STUDIES}, []
    names = sorted({name for found in there.values() for name in found if name})
    for name in wanted:
        if name not in names: raise unknown("dataset", name, names)
    for number, judge in STUDIES.items():
        for dataset in there[number]:
            if wanted and dataset not in wanted: continue
            try: tables = judge(dataset)
            except Exception as error:
                of = f"a stored table{' of ' * bool(dataset)}{dataset}"
                # what the rows give and what is stored are of different runs
                unlike = f"{of} does not fit the others ({' '.join(str(error).split())}): {AGAIN}." \
                    if isinstance(error, AssertionError | ValueError) else None
                if not (said := lacking(error, of) or unlike): raise
                failed.append(f"{number} {dataset}".strip() + f": {said}")
                continue
            for stem, table in tables.items():
                print(save_table(table, f"{stem}-{dataset}".removesuffix("-"), RESULTS).name)
    return failed


if __name__ == "__main__":
    try: failed = main(sys.argv[1:])
    except InputError as err: sys.exit(f"verdicts: {err}")
    if failed: sys.exit("\n".join(["not judged:", *failed]))
