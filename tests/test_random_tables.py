"The null of `collapse diagnose`: random tables without drawing them, against random tables that are drawn."
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from collapse_nb.abundance import measures
from collapse_nb.random_tables import draws_for, random_spectra, random_tables, spectrum_measures
from collapse_nb.records import InputError
from collapse_nb.stats import holm


@pytest.mark.parametrize("rows, width", [(40, 6), (6, 40), (8, 8), (3, 2), (1, 5), (5, 1)])
def test_measures_are_distributed_as_those_of_drawn_tables(rows, width):
    rng = np.random.default_rng(rows * 100 + width)
    drawn = spectrum_measures(np.linalg.svd(rng.standard_normal((1500, rows, width)), compute_uv=False))
    quick = spectrum_measures(random_spectra(rows, width, 1500, rng))
    for name in ("ia", "effective_rank", "stable_rank", "ia_rest"):
        if min(rows, width) == 1: continue # all are 1
        assert stats.ks_2samp(drawn[name].round(9), quick[name].round(9)).pvalue > 1e-3, name


def test_norm_is_chi():
    "The sum of squares of D x K normal numbers."
    squares = (random_spectra(70, 9, 2000, np.random.default_rng(0))**2).sum(1)
    assert stats.kstest(squares, stats.chi2(630).cdf).pvalue > 1e-3


def test_long_tables_cost_nothing_and_are_even():
    null = random_tables(10**12, 6)
    assert 5.999 < null.median("ia") <= 6


def test_draws_depend_on_shape_and_seed_alone():
    first = random_tables(321, 5, 999, 3).values["ia"]
    random_tables.cache_clear()
    random_tables(99, 4, 999, 3)
    assert (random_tables(321, 5, 999, 3).values["ia"] == first).all()
    assert (random_tables(321, 5, 999, 4).values["ia"] != first).any()


@given(st.integers(1, 60), st.integers(1, 12), st.floats(0, 20))
@settings(max_examples=40, deadline=None)
def test_p_is_that_of_a_slow_count(rows, width, value):
    null = random_tables(rows, width)
    below = sum(drawn <= value for drawn in null.values["ia"])
    assert null.p_low("ia", value) == (below + 1) / 1000


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_measures_are_those_of_the_notebook_on_abundance(values):
    sigma = np.sort(values)[::-1]
    ours, theirs = spectrum_measures(sigma), measures(np.diag(sigma))
    for name in ("ia", "ia_rest", "effective_rank", "stable_rank"):
        assert ours[name] == pytest.approx(theirs[name].item(), rel=1e-9, nan_ok=True), name
    energy, count = 0, 0
    for value in sigma: # directions, one by one, until 99 % is there
        if energy >= .99 * (sigma**2).sum() * (1 - 1e-11): break
        energy, count = energy + value**2, count + 1
    assert ours["width99"] == count


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (-1, 2)])
def test_no_table(shape):
    with pytest.raises(InputError, match="whole numbers of at least 1"): random_tables(*shape)


def test_random_tables_pass_for_random_after_holm():
    "Of twenty reports on twenty random tables each, about one in twenty finds anything."
    rng = np.random.default_rng(5)
    found = 0
    for _ in range(20):
        sigma = np.linalg.svd(rng.standard_normal((20, 100, 6)), compute_uv=False)
        null = random_tables(100, 6, draws_for(20))
        p = np.array([null.p_low("ia", value) for value in spectrum_measures(sigma)["ia"]])
        found += holm(p).min() < .05
    assert found <= 5
