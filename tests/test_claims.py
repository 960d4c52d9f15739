"What is stored of every study's claims and intervals follows from the rows that its full run has stored."
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import verdicts
from scipy.stats import linregress, norm, spearmanr, ttest_1samp, ttest_rel
from scipy.stats import t as student
from verdicts import POOLED, RESULTS, STUDIES, datasets, is_on_fishers_scale, of_fields

from collapse_nb import stats
from collapse_nb.claims.interaction import (
    frozen_claims,
    law_claims,
    partner_slopes,
    rank_slopes,
    row_spread,
    sub_embedding_matrix,
)
from collapse_nb.claims.overfitting import ALIKE
from collapse_nb.claims.scaling import scaling_claims
from collapse_nb.evidence import Correlation, collapse_law
from collapse_nb.findings import COLUMNS, Measured
from collapse_nb.multi_embedding import appendix_proofs
from collapse_nb.show.sentences import LATER
from collapse_nb.stats import MARGIN, SIGNIFICANT, contrasts, holm

CASES = [(number, dataset) for number in STUDIES for dataset in datasets(number)]
NUMBERS = ["value", "low", "high"]


def stored(stem: str) -> pd.DataFrame:
    "A stored table."
    return pd.read_csv(RESULTS / f"{stem}.csv")

def test_every_study_is_stored():
    assert {number for number, _ in CASES} == set(STUDIES)
    assert {f"findings-{number}-{dataset}".removesuffix("-") for number, dataset in CASES} == {
        file.stem for file in RESULTS.glob("findings-*.csv")}

@pytest.mark.parametrize("number, dataset", CASES, ids=str)
def test_stored_tables_follow_from_stored_rows(number, dataset):
    "`make verdicts` would change nothing."
    for stem, fresh in STUDIES[number](dataset).items():
        kept = stored(f"{stem}-{dataset}".removesuffix("-"))
        assert list(fresh) == list(kept)
        texts = [column for column in kept if not pd.api.types.is_numeric_dtype(fresh[column])]
        ours, theirs = (table[texts].astype(object).fillna("") for table in (fresh, kept))
        pd.testing.assert_frame_equal(ours, theirs)
        numbers = kept.columns.difference([*texts])
        pd.testing.assert_frame_equal(fresh[numbers].astype(float), kept[numbers].astype(float), rtol=1e-7)

@pytest.mark.parametrize("number, dataset", CASES, ids=str)
def test_every_verdict_says_what_it_could_have_seen(number, dataset):
    table = stored(f"findings-{number}-{dataset}".removesuffix("-"))
    assert list(table) == COLUMNS
    wide = table[table.low < table.high]
    np.testing.assert_allclose(wide.half_width, (wide.high - wide.low) / 2)
    # what is as large as the half-width is found about half the time
    assert (wide.detectable > wide.half_width).all()
    assert (table.p.dropna() > 0).all() and table.p.dropna().le(1).all()
    unclear = table.verdict == "cannot tell"
    assert table.seeds_needed[~unclear].isna().all()
    of_seeds = unclear & table.sought.notna() & (table.seeds > 1)
    assert table.seeds_needed[of_seeds].notna().all()
    # what is sought would have been seen with fewer seeds exactly where it is detectable
    sought = table[of_seeds]
    assert ((sought.seeds_needed <= sought.seeds) == (sought.sought >= sought.detectable)).all()

SCALED = [name for name in datasets("06") if name != POOLED]

@dataclass
class TwoStages:
    """Stein's test of a mean: of all seeds, with the spread and the degrees of freedom of those of the first
    stage, which decided how many there are. With one stage it is SciPy's test."""
    values: pd.Series # of a seed
    first: set[int]   # seeds of the first stage
    against: float = 0

    def __post_init__(self):
        values = self.values.dropna()
        spread = values[values.index.isin(self.first)]
        self.df, self.mean = len(spread) - 1, values.mean()
        self.se = spread.std() / len(values)**.5
        self.statistic = (self.mean - self.against) / self.se
        self.pvalue = 2 * student.sf(abs(self.statistic), self.df)
        if len(spread) < len(values): return
        plain = ttest_1samp(values, self.against)
        np.testing.assert_allclose([self.statistic, self.pvalue], [plain.statistic, plain.pvalue])

    def confidence_interval(self) -> tuple[float, float]:
        half = student.ppf(.975, self.df) * self.se
        return self.mean - half, self.mean + half

@pytest.mark.parametrize("dataset", SCALED)
def test_scaling_is_judged_by_paired_tests(dataset):
    """Once more by another way: the primary claim, the gains, of which SE's are held against a margin, and ME
    over all sizes, which is held by the least sure of several tests."""
    runs, table = stored(f"runs-{dataset}"), stored(f"findings-06-{dataset}").set_index("claim")
    first = set(runs.seed[runs.get("stage", pd.Series(1, runs.index)) == 1])
    def paired(one, other) -> TwoStages: return TwoStages(one - other, first)
    auc = runs.pivot(index="seed", columns=["model", "design", "scale"], values="test_auc")
    sizes_of = {m: sorted(set(runs.scale[runs.model == m])) for m in stats.MODELS if m in set(runs.model)}
    largest = runs.scale.max()
    compared = [m for m in sizes_of if {(m, "SE", largest), (m, "ME", largest)} <= {*auc}]
    primary = sum(auc[m, "ME", largest] - auc[m, "SE", largest] for m in compared) / len(compared)
    name = next(claim for claim in table.index if claim.startswith(f"ME beats SE at {largest}x, mean over "))
    assert all(m in name for m in compared) and name.endswith(f"({len(compared)} of the paper's 6 models)")
    tests, factor = {name: TwoStages(primary, first)}, {}
    def sized(m, size): return auc[m, "SE" if size == 1 else "ME", size]
    for m, sizes in sizes_of.items():
        top, in_words = sizes[-1], ", ".join(f"{s}x" for s in sizes[:-1]) + f" and {sizes[-1]}x"
        tests[f"{m} ME gains from 1x to {top}x"] = paired(auc[m, "ME", top], auc[m, "SE", 1])
        less = auc[m, "SE", top] - MARGIN
        tests[f"{m} SE gains less than {MARGIN:g} from 1x to {top}x"] = paired(less, auc[m, "SE", 1])
        if len(sizes) < 3: continue # there is one step, which has been asked about
        for claim, pairs in ((f"is best at {top}x of {in_words}", [(top, size) for size in sizes[:-1]]),
                             (f"gains at every step, {in_words}", zip(sizes[1:], sizes, strict=False))):
            each = [paired(sized(m, one), sized(m, other)) for one, other in pairs]
            least = min(each, key=lambda test: test.statistic)
            tests[f"{m} ME {claim}"] = least
            factor[f"{m} ME {claim}"] = len(each) if least.statistic < 0 else 1
    others = runs.groupby(["model", "design", "scale"]).dense_parameters.first()
    saving = [m for m in compared if others[m, "ME", largest] < others[m, "SE", largest]]
    cost = (f"ME at {largest}x loses less than {SIGNIFICANT} of the test AUC of SE where it has fewer other "
            f"parameters: {', '.join(saving)}")
    assert saving == ["DCNv2"] # whose interaction grows with the square of its width
    others = [claim for claim in table.index if claim not in (*tests, cost) and not np.isnan(table.p[claim])]
    columns = ()
    if dataset in datasets("04"): # abundance beside AUC is of the studies of 01, 04 and 05
        beside = stored(f"abundance-auc-{dataset}")
        changed = beside[beside.against.notna()]
        columns = (beside.ia, beside.test_auc), (changed.ia_difference, changed.auc_difference)
    assert len(others) == len(columns)
    for claim, (x, y) in zip(others, columns, strict=True):
        rho = np.corrcoef(x.rank(), y.rank())[0, 1] # with the error of Bonett & Wright
        z = np.arctanh(rho) * np.sqrt((len(x) - 3) / (1 + rho**2 / 2))
        factor[claim] = 2 * norm.sf(abs(z))
    rows = table.loc[[*tests, *others]]
    p = np.array([min(1., test.pvalue * factor.get(claim, 1)) for claim, test in tests.items()]
                 + [factor[claim] for claim in others])
    np.testing.assert_allclose(rows.p, np.concatenate([p[:1], holm(p[1:])]), rtol=1e-9)
    less = sum(auc[m, "ME", largest] - auc[m, "SE", largest] for m in saving) / len(saving)
    later = TwoStages(less, first, -SIGNIFICANT) # thought of afterwards, and corrected for all others
    np.testing.assert_allclose(table.p[cost], holm(np.array([*rows.p[1:], later.pvalue]))[-1], rtol=1e-9)
    np.testing.assert_allclose(table.loc[cost, ["low", "high"]].to_numpy(float), later.confidence_interval(),
                               atol=1e-12)
    ends = np.array([test.confidence_interval() for test in tests.values()])
    shift = [MARGIN if "less than" in claim else 0. for claim in tests]
    kept = rows[["low", "high"]][:len(tests)]
    np.testing.assert_allclose(kept, ends + np.array(shift)[:, None], atol=1e-12)
    clear = rows.p < .05
    assert (rows.verdict[~clear] == "cannot tell").all() and (rows.verdict[clear] != "cannot tell").all()

@pytest.mark.parametrize("dataset", datasets("04"))
def test_abundance_beside_auc_is_of_the_same_runs(dataset):
    "Means of stored rows, found another way; a counter-example is one by both intervals."
    beside, runs = stored(f"abundance-auc-{dataset}"), stored(f"abundance-{dataset}")
    plain = beside[beside.arm == "SE"].set_index(["model", "scale"])
    learned = runs[runs.table == "learned"].groupby(["model", "scale"])[["ia", "ia_normalised"]].mean()
    shared = plain.index.intersection(learned.index)
    assert len(shared) >= 6
    np.testing.assert_allclose(plain.loc[shared, ["ia", "ia_normalised"]].astype(float), learned.loc[shared],
                               atol=2e-5)
    multi = beside[beside.arm == "ME"].set_index("scale").test_auc
    controls = stored(f"controls-{dataset}")
    theirs = controls[controls.arm == "ME"].groupby("scale").test_auc.mean()
    np.testing.assert_allclose(multi, theirs.loc[multi.index])
    opposite = beside[beside.together == "no"]
    assert ((opposite.ia_low > 0) & (opposite.auc_high < 0) |
            (opposite.ia_high < 0) & (opposite.auc_low > 0)).all()

def test_seeds_that_were_added_are_judged_alike():
    "The claim on the primary contrast is its row in the table of contrasts, in two stages as in one."
    draw = np.random.default_rng(0)
    seeds_of = {("SE", 1): 5, ("SE", 4): 12, ("ME", 4): 12}
    runs = pd.DataFrame([(*cell, k, .8 + .001 * draw.normal()) for cell, n in seeds_of.items()
                         for k in range(n)], columns=["design", "scale", "seed", "test_auc"])
    runs = runs.assign(dataset="a", variant="paper", model="DNN", status="done", stage=1 + (runs.seed >= 5))
    row, claim = contrasts(runs).iloc[0], scaling_claims(runs, "a")[0]
    np.testing.assert_allclose([claim[c] for c in ("value", "low", "high", "p", "half_width", "detectable")],
                               row[["difference", "low", "high", "p", "half_width",
                                    "detectable"]].astype(float))
    wide = runs[runs.scale == 4].pivot(index="seed", columns="design", values="test_auc")
    gain = wide["ME"] - wide["SE"]
    half = student.ppf(.975, 4) * gain[:5].std() / 12**.5 # all seeds' mean, the first ones' spread
    np.testing.assert_allclose([row.difference, row.half_width], [gain.mean(), half])

BY_SEED = [f.stem.removeprefix("sub-embeddings-seeds-") for f in RESULTS.glob("sub-embeddings-seeds-*.csv")]

@pytest.mark.parametrize("dataset", BY_SEED)
def test_the_law_follows_from_the_stored_matrices(dataset):
    "Every seed's correlation, plain and at equal cardinality, from the matrices that are stored of it."
    by_seed, law = stored(f"sub-embeddings-seeds-{dataset}"), stored(f"law-{dataset}")
    marginals = stored(f"sub-embedding-marginals-{dataset}")
    sizes = marginals.drop_duplicates("field").set_index("field").cardinality
    for (model, state), rows in by_seed.groupby(["model", "state"]):
        names = rows.field.drop_duplicates()
        there = rows.filter(like="abundance_").dropna(how="all", axis=1)
        seeds = [column.removeprefix("abundance_") for column in there]
        square = rows.pivot(index="field", columns="towards").reindex(index=names)
        matrix, partner = (np.stack([square[f"{kind}_{seed}"][names] for seed in seeds])
                           for kind in ("abundance", "partner"))
        if model == "DCNv2": partner = partner[:, 0]
        ours = collapse_law(matrix, partner, np.log(sizes.loc[names].to_numpy()), 50)
        kept = law[(law.model == model) & (law.state == state)]
        for statistic, values in (("rank correlation", ours.per_seed),
                                  ("at equal cardinality", ours.partial_per_seed)):
            of_law = kept[kept.statistic == statistic].set_index("seed").rho
            np.testing.assert_allclose(values, of_law.loc[[int(seed) for seed in seeds]], atol=1e-6)

@pytest.mark.parametrize("dataset", datasets("03"))
def test_what_is_stored_of_the_law_follows_from_its_rows(dataset):
    """Stored of the law in trained models are its own numbers, and by how much it exceeds shuffled labels.

    So p, which is adjusted for all claims, is held from below only; a verdict may have been taken away."""
    law, pairs, table = (stored(f"{stem}-{dataset}") for stem in ("law", "sub-embeddings", "findings-03"))
    table, fields, rows = table.set_index("claim"), pairs.field.nunique(), []
    def from_ends(value, low, high):
        return Measured(value, (high - low) / 2 / student.ppf(.975, fields - 1), fields - 1)
    for model in law.model.unique():
        trained = law[(law.model == model) & (law.state == "trained")]
        of_law, of_partial = (trained[trained.statistic == statistic].iloc[0]
                              for statistic in ("rank correlation", "at equal cardinality"))
        numbers = {"law": (of_fields(*of_law[["mean", "low", "high"]], fields), of_law.p),
                   "partial": (of_fields(*of_partial[["mean", "low", "high"]], fields), of_partial.p),
                   "shuffled": (from_ends(*of_law[["gap", "gap_low", "gap_high"]]), None)}
        rows += [row for row in law_claims(model, numbers) if row["verdict"] != "not run here"]
    assert len(rows) == 3 * law.model.nunique()
    if (RESULTS / f"causal-{dataset}.csv").is_file():
        by_rank = stored(f"causal-{dataset}").pivot(index=["outcome", "seed"], columns="rank", values="ia")
        rows += frozen_claims(rank_slopes(by_rank))[:3]
    ours = pd.DataFrame(rows).set_index("claim")
    theirs = table.loc[ours.index]
    np.testing.assert_allclose(ours[NUMBERS], theirs[NUMBERS], atol=1e-5) # six decimals were stored
    assert ((ours.verdict == theirs.verdict) | (theirs.verdict == "cannot tell")).all()
    assert (theirs.p.isna() == ours.p.isna()).all() and not (theirs.p < ours.p * (1 - 1e-3)).any()

def test_models_trained_apart_are_paired_with_the_sets_of_one():
    rows = pd.concat([stored(f"findings-05-{dataset}") for dataset in datasets("05")])
    apart = rows["where"].str.contains("Fig. 8[bc]$") & rows.claim.str.contains("apart")
    assert apart.sum() == 2 * len(datasets("05")) and rows.seeds[apart].gt(1).all()
    assert all("note" not in stored(f"resampled-{dataset}") for dataset in SCALED)

@pytest.mark.parametrize("dataset", datasets("01"))
def test_low_tables_are_counted_one_by_one(dataset):
    "The share of low tables: once more, table by table, and judged with SciPy's test."
    tables, table = stored(f"abundance-{dataset}"), stored(f"findings-01-{dataset}").set_index("claim")
    top, wide = tables.scale.max(), tables.dim.max()
    ia = {(r.model, r.seed, r.field, r.table): r.ia for r in tables[tables.scale == top].itertuples()
          if r.cardinality >= wide}
    for model in tables.model.unique():
        of_seed = {}
        for (name, seed, field, kind), value in ia.items():
            if (name, kind) != (model, "learned"): continue
            of_seed.setdefault(seed, []).append(value < ia[name, seed, field, "random"] / 2)
        shares = [sum(low) / len(low) for low in of_seed.values()]
        row = table.loc[f"Most tables of {model} {top}x tend to be low-rank: more than 1/2 of those with D ≥ "
                        "K have less than 1/2 of the IA of random ones"]
        assert row.value == pytest.approx(np.mean(shares)) and row.seeds == len(shares)
        assert row.note.startswith(f"{len(of_seed[0])} such tables in a seed")
        if len(set(shares)) == 1: # no spread, and so no test
            assert np.isnan(row.p) and row.low == row.high and row.note.endswith("in every seed")
            continue
        test = ttest_1samp(shares, .5)
        np.testing.assert_allclose([row.low, row.high], test.confidence_interval())
        assert row.p >= test.pvalue * (1 - 1e-9) # Holm's is not below it
@pytest.mark.parametrize("dataset", datasets("04"))
def test_why_tables_collapse_and_models_overfit_is_judged_by_paired_tests(dataset):
    """Once more with SciPy's tests: DNN's share of random abundance against DCNv2's, by two one-sided tests;
    and how far validation AUC falls after the peak."""
    table = stored(f"findings-04-{dataset}").set_index("claim")
    tables, runs = stored(f"abundance-{dataset}"), stored(f"scaling-dnn-dcnv2-{dataset}")
    large = tables[tables.cardinality >= tables.dim.max()]
    means = large.groupby(["model", "scale", "table", "seed"]).ia.mean()
    after = runs.pivot(index="seed", columns=["model", "scale"], values="valid_after")
    sizes, tests, p_alike = runs.scale.unique(), {}, []
    top = max(sizes)
    for s in sizes:
        dnn, cross = (means[m, s, "learned"] / means[m, s, "random"] for m in ("DNN", "DCNv2"))
        more = dnn / cross - 1
        claim, = (c for c in table.index if c.startswith(f"At {s}x DNN's tables keep"))
        tests[claim] = ttest_1samp(more, 0)
        ends = tests[claim].confidence_interval()
        sides = [ttest_1samp(more, end).pvalue for end in (-ALIKE, ALIKE)]
        p_alike.append(max(sides) if -ALIKE < more.mean() < ALIKE else min(sides))
        inside, outside = -ALIKE < ends[0] < ends[1] < ALIKE, ends[0] > ALIKE or ends[1] < -ALIKE
        verdict = "holds" if inside else "does not hold" if outside else "cannot tell"
        assert table.verdict[claim] in (verdict, "cannot tell")
    for m in ("DNN", "DCNv2"):
        tests |= {f"At {s}x {m}'s validation AUC falls after the peak": ttest_1samp(after[m, s].dropna(), 0)
                  for s in sizes}
        grows = f"From 1x to {top}x the fall after the peak grows in {m}"
        tests[grows] = ttest_rel(after[m, top], after[m, 1], nan_policy="omit")
    growth = {m: after[m, top] - after[m, 1] for m in ("DNN", "DCNv2")}
    grows = f"From 1x to {top}x the fall after the peak grows more in DNN than in DCNv2"
    tests[grows] = ttest_rel(growth["DNN"], growth["DCNv2"], nan_policy="omit")
    rows = table.loc[list(tests)]
    ends = np.array([test.confidence_interval() for test in tests.values()])
    np.testing.assert_allclose(rows[["low", "high"]], ends, atol=1e-9)
    raw = np.array(p_alike + [test.pvalue for test in tests.values()][len(p_alike):])
    assert (rows.p.to_numpy() >= raw * (1 - 1e-6)).all() # adjusted for all claims of the notebook
    clear = rows.p < .05
    assert (rows.verdict[~clear] == "cannot tell").all() and (rows.verdict[clear] != "cannot tell").all()
def test_what_is_stored_of_the_toy_follows_from_its_rows():
    "Differences within seeds, by hand."
    runs, readings, table = stored("toy"), stored("toy-readings"), stored("findings-02").set_index("claim")
    ends = runs[runs.iteration == runs.iteration.max()].pivot(index="seed", columns="d3", values="ia")
    first = "IA(E_1) ends lower with D_3 = 3 than with D_3 = 100"
    assert table.index[0] == first and table.value[first] == pytest.approx((ends[3] - ends[100]).mean())
    names = {"cross entropy, sum": "cross entropy summed", "squared loss, mean": "squared loss averaged",
             "cross entropy, mean per id": "cross entropy averaged per id"}
    for reading, name in names.items():
        part = readings[readings.reading == reading].pivot(index="seed", columns="D_3", values="end IA")
        row = table.loc[f"{first}, {name}"]
        assert row.value == pytest.approx((part[3] - part[100]).mean()) and row["where"].startswith("control")
        assert row.seeds == len(part) == runs.seed.nunique()
    again = readings[readings.reading == "cross entropy, mean"]
    again = again.pivot(index="seed", columns="D_3", values="end IA")
    np.testing.assert_allclose(again, ends, rtol=1e-5) # other runs of the same seeds
@pytest.mark.parametrize("dataset", datasets("03"))
def test_rows_of_figure_3_once_more(dataset):
    "Slopes and spreads with loops and SciPy's own, and what the findings say of them."
    pairs, marginals, table = (stored(f"{stem}-{dataset}") for stem in
                               ("sub-embeddings", "sub-embedding-marginals", "findings-03"))
    later = table[table.note == LATER].set_index("claim")
    assert len(later) == 8 and (table.note.fillna("") == LATER).iloc[-8:].all() # below the others
    for model in pairs.model.unique():
        steepness, spreads = {}, {}
        for state in ("trained", "initial", "shuffled"):
            rows = pairs[(pairs.model == model) & (pairs.field != pairs.towards)]
            own = marginals[(marginals.model == model) & (marginals.state == state)]
            ia = own.drop_duplicates("field").set_index("field").abundance
            slopes, spread = [], []
            for field in ia.index:
                row = rows[rows.field == field].set_index("towards")[state]
                slopes.append(linregress(ia.loc[row.index].rank(), row).slope)
                spread.append(np.std(row) / np.mean(row))
            matrix = sub_embedding_matrix(pairs, model, state)
            np.testing.assert_allclose(partner_slopes(matrix, ia).loc[ia.index], slopes, atol=1e-12)
            np.testing.assert_allclose(row_spread(matrix).loc[ia.index], spread, atol=1e-12)
            steepness[state], spreads[state] = spearmanr(slopes, ia).statistic, np.mean(spread)
        def value(words, model=model):
            (found,) = later.value[later.index.str.startswith(f"{model}: {words}")]
            return found
        numbers = {"rows rise along j": steepness["trained"],
                   "the steepness follows": steepness["trained"] - steepness["shuffled"],
                   "one field's sub-embeddings": spreads["trained"] - spreads["initial"],
                   "they differ more": spreads["trained"] - spreads["shuffled"]}
        np.testing.assert_allclose([value(words) for words in numbers], list(numbers.values()), atol=1e-9)

@pytest.mark.parametrize("dataset", datasets("03"))
def test_correlations_end_at_one(dataset):
    "In the findings and in the rows that figures draw."
    law, table = stored(f"law-{dataset}"), stored(f"findings-03-{dataset}")
    of_law = table.claim.str.contains("rises with IA|the same at equal|more steeply")
    of_law &= ~table.claim.str.contains("frozen")
    assert of_law.sum() == 8 # four of each model
    for rows in (law, table[of_law & table.value.notna()]):
        assert rows.low.ge(-1).all() and rows.high.le(1).all()
        ends = rows[["mean" if rows is law else "value", "low", "high"]].to_numpy()
        assert all(is_on_fishers_scale(*row) for row in ends)

@pytest.mark.parametrize("value", [-.97, -.3, .01, .7, .978])
@pytest.mark.parametrize("se", [.05, .3])
def test_plain_intervals_of_older_runs_become_fishers_once(value, se):
    plain = Measured(value, se * (1 - value**2), 9)
    ours = of_fields(*plain, 10)
    np.testing.assert_allclose(ours, Correlation(value, se, 9), atol=1e-12)
    rounded = np.round(ours, 6)
    assert is_on_fishers_scale(*rounded) and not is_on_fishers_scale(*plain)
    np.testing.assert_allclose(of_fields(*rounded, 10), ours, atol=1e-4)

def test_around_zero_both_intervals_are_one(): assert is_on_fishers_scale(*Measured(0, .1, 9))
@pytest.mark.parametrize("dataset", datasets("05"))
def test_every_proof_of_the_appendix_has_a_row(dataset, monkeypatch):
    "Also for a full run from before there were so many: its rows are made once more, without training."
    table = stored(f"findings-05-{dataset}")
    of_appendix = table[table["where"] == "App., non-linearity"]
    proved = [proof.claim for proof in appendix_proofs()]
    assert list(of_appendix.claim.str.split(": largest").str[0]) == proved
    assert (of_appendix.verdict == "holds").all() and of_appendix.p.isna().all()
    older = table.drop(of_appendix.index[3:])
    with_older = lambda stem: older if stem.startswith("findings") else stored(stem)
    monkeypatch.setattr(verdicts, "stored", with_older)
    again = verdicts.multi_embedding(dataset)["findings-05"]
    assert list(again.claim) == list(table.claim) and list(again.verdict) == list(table.verdict)


@pytest.mark.parametrize("dataset", datasets("19"))
def test_slopes_over_the_rank_of_a_frozen_table_are_those_of_scipy(dataset):
    "By model and in their mean, of all other tables and of those with room: seed by seed, SciPy's tests."
    runs, table = stored(f"frozen-runs-{dataset}"), stored(f"findings-19-{dataset}").set_index("claim")
    runs = runs[(runs["rank"] > 0) & (runs.status == "done") & (runs.epochs < 100)]
    for measure, which in (("ia", "other tables rises"), ("ia_large", "other tables with D_i ≥ K rises")):
        slopes = pd.Series({key: linregress(part["rank"], part[measure]).slope
                            for key, part in runs.groupby(["model", "seed"])}).unstack()
        assert slopes.shape == (4, 5) and slopes.notna().all(axis=None)
        for name, by_seed in ({"mean": slopes.mean()} | dict(slopes.iterrows())).items():
            row = table[table.index.str.startswith(f"{name}") & table.index.str.contains(which)]
            test = ttest_1samp(by_seed, 0)
            np.testing.assert_allclose(row[NUMBERS].to_numpy()[0],
                                       [by_seed.mean(), *test.confidence_interval(.95)], atol=1e-9)
            assert len(row) == 1 and row.seeds.iloc[0] == 5
