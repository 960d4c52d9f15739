"`diagnose`: measured in one pass as by a float64 decomposition, row groups, verdicts, reports, bad tables."
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import jsonschema
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from collapse_nb import diagnose as module
from collapse_nb.abundance import measures
from collapse_nb.checkpoints.tensors import StoredTensor, of_array
from collapse_nb.data.dataset import write_encoded
from collapse_nb.diagnose import (
    REPORT_SCHEMA,
    VERDICTS,
    Diagnosis,
    Report,
    TablePass,
    _tables,
    hits,
    initialiser,
)
from collapse_nb.fields import FieldSchema
from collapse_nb.records import InputError


def part(name, table, role="table", **known):
    tensor = table if isinstance(table, StoredTensor) else of_array(name, np.asarray(table))
    return SimpleNamespace(**dict(tensor=tensor, role=role, name=name, rows=None, columns=None, padding=(),
                                  oov=(), bias_columns=(), why="") | known)

def measured(*parts, counts=None) -> list[Diagnosis]: return _tables(list(parts), hits(counts), 0)[0]

def one(table, counts=None, **known) -> Diagnosis:
    return measured(part("t", table, **known), counts=None if counts is None else {"t": counts})[0]

def in_blocks(table, sizes) -> StoredTensor:
    def read(most):
        start = 0
        for size in sizes:
            yield table[start:start + size]
            start += size
        if start < len(table): yield table[start:]
    return replace(of_array("t", table), read=read)

def trained(rows, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.gamma(2, size=(rows, 1)) * rng.standard_normal((rows, width))


# what is measured

@pytest.mark.parametrize("shape", [(60_000, 16), (200, 100), (7, 30), (3000, 3)])
@pytest.mark.parametrize("spectrum", ["even", "steep", "broken"])
def test_spectrum_is_that_of_a_float64_decomposition(shape, spectrum):
    rng = np.random.default_rng(1)
    scale = {"even": np.ones(shape[1]), "steep": .85**np.arange(shape[1]), "broken": np.arange(shape[1]) < 2}
    table = (rng.standard_normal(shape) * scale[spectrum] + .1).astype(np.float32)
    found = one(table)
    exact = np.linalg.svd(table.astype(float), compute_uv=False)
    assert found.live_rows == shape[0]
    expected = exact if spectrum != "broken" else np.linalg.svd(table[:, :2].astype(float), compute_uv=False)
    assert found.dim == (2 if spectrum == "broken" else shape[1])
    assert abs(np.array(found.spectrum) - expected[:len(found.spectrum)]).max() < 1e-6 * exact[0]
    same = measures(torch.tensor(table[:, :found.dim]))
    for name in ("ia", "effective_rank", "stable_rank", "ia_rest"):
        assert getattr(found, name) == pytest.approx(same[name].item(), rel=1e-4), name
    assert found.ia_live == pytest.approx(found.ia, rel=1e-6)


def test_tall_table_does_not_drift():
    "Two million rows, where float32 sums are off by 8e-5 together."
    table = np.random.default_rng(2).standard_normal((2_000_000, 4), dtype=np.float32) + 3
    exact = np.linalg.svd(table.astype(float), compute_uv=False)
    assert abs(np.array(one(table).spectrum) - exact).max() < 1e-6 * exact[0]


def test_groups_are_those_of_a_slow_loop():
    rng = np.random.default_rng(3)
    table = trained(900, 6)
    kinds = np.array(["live", "zero", "padding", "never", "start", "decayed", "constant", "nan"])[
        rng.choice(8, 900, p=[.5, .1, .05, .1, .1, .05, .05, .05])]
    table[(table**2).sum(1) < .5] *= 10 # no live row is short
    table[kinds == "zero"] = 0
    table[kinds == "start"] = rng.normal(0, 1e-4, (sum(kinds == "start"), 6))
    table[kinds == "decayed"] = rng.normal(0, 1e-7, (sum(kinds == "decayed"), 6))
    table[kinds == "constant"] = .75
    table[kinds == "nan", 2] = np.inf
    counts = np.where(kinds == "never", 0, rng.integers(1, 50, 900))
    found = one(table, counts, padding=tuple(np.flatnonzero(kinds == "padding")))
    got = dict(live=found.live_rows, zero=found.zero_rows, padding=found.padding_rows,
               never=found.never_trained_rows, start=found.start_rows, decayed=found.decayed_rows,
               constant=found.constant_rows, nan=found.bad_rows)
    assert got == {kind: int((kinds == kind).sum()) for kind in got}
    assert sum(got.values()) == found.rows
    live = np.linalg.svd(table[kinds == "live"], compute_uv=False)
    assert abs(np.array(found.spectrum) - live).max() < 1e-7 * live[0]
    finite = torch.tensor(table[kinds != "nan"])
    assert found.ia == pytest.approx(measures(finite)["ia"].item(), rel=1e-6)
    weighted = measures(finite, torch.tensor(counts[kinds != "nan"]))
    assert found.ia_weighted == pytest.approx(weighted["ia_weighted"].item(), rel=1e-6)
    assert found.effective_rank_weighted == pytest.approx(weighted["rankme"].item(), rel=1e-6)
    for n, what in ((found.zero_rows, "zero"), (found.padding_rows, "padding"), (found.bad_rows, "with NaN"),
                    (found.start_rows, "at their start"), (found.decayed_rows, "decayed")):
        assert f"{n} rows {what}" in found.groups
    assert "NaN or infinite numbers in" in found.problem


def test_constant_column_is_no_direction():
    "BPR's ones behind the factors, which alone take abundance from about 9 to 2.6."
    factors = .1 * trained(500, 10)
    found = one(np.c_[factors, np.ones(500)])
    assert (found.dim, found.width) == (10, 11) and "no learnt column: 10" in found.notes
    assert found.ia_live == pytest.approx(measures(torch.tensor(factors))["ia"].item(), rel=1e-6)
    bias = np.c_[factors, 30 + trained(500, 1)]
    with_bias, without = one(bias), one(bias, bias_columns=(10,))
    assert (without.dim, without.directions) == (11, 10)
    assert without.ia_live == pytest.approx(found.ia_live) and with_bias.ia_live < 2


def test_rows_that_are_zero_but_for_a_bias_are_zero():
    table = np.c_[trained(200, 5), np.ones(200)]
    table[:20, :5] = 0
    found = one(table, bias_columns=(5,))
    assert (found.zero_rows, found.identical_rows, found.live_rows) == (20, 0, 180)


def test_equal_rows_stay_live():
    table = trained(300, 5)
    table[[3, 90, 200]] = table[3]
    found = one(table)
    assert (found.identical_rows, found.live_rows) == (3, 300)


def test_stacked_table_is_read_once():
    tables, reads = [trained(40, 4, 1), trained(300, 4, 2), trained(25, 4, 3)], []
    whole = np.concatenate(tables)
    def read(most):
        reads.append(1)
        for start in range(0, len(whole), 37): yield whole[start:start + 37]
    tensor, ends = replace(of_array("stacked", whole), read=read), np.cumsum([0, 40, 300, 25])
    found = measured(*(part(f"field {i}", tensor, rows=slice(ends[i], ends[i + 1]), padding=(0,))
                       for i in range(3)))
    assert len(reads) == 1
    assert [(t.name, t.rows, t.padding_rows) for t in found] == [
        ("field 0", 40, 1), ("field 1", 300, 1), ("field 2", 25, 1)]
    for table, alone in zip(found, tables, strict=True):
        assert table.ia == pytest.approx(one(alone).ia, rel=1e-9)
        assert table.mb == pytest.approx(alone.nbytes / 1e6)


def test_columns_of_a_tensor():
    found = one(trained(100, 6).reshape(100, 2, 3), columns=slice(3, 6))
    assert (found.rows, found.width) == (100, 3)
    assert found.ia == pytest.approx(one(trained(100, 6)[:, 3:]).ia)


# what does not matter

tables = st.tuples(st.integers(2, 400), st.integers(2, 9), st.integers(0, 2**32 - 1))

@given(tables, st.lists(st.integers(1, 150), max_size=6))
@settings(max_examples=25, deadline=None)
def test_blocks_do_not_matter(shape, sizes):
    table = trained(*shape[:2], shape[2])
    sizes = [n for n, end in zip(sizes, np.cumsum(sizes), strict=True) if end <= len(table)]
    a, b = one(table), one(in_blocks(table, sizes))
    assert a.spectrum == pytest.approx(b.spectrum, abs=1e-7 * a.spectrum[0])
    assert (a.live_rows, a.verdict, a.groups) == (b.live_rows, b.verdict, b.groups)


@given(tables, st.data())
@settings(max_examples=25, deadline=None)
def test_order_of_rows_rotation_and_scale_do_not_matter(shape, data):
    table = trained(*shape[:2], shape[2])
    rng = np.random.default_rng(shape[2])
    turned = 2.**data.draw(st.integers(-3, 20)) * rng.permutation(table) @ np.linalg.qr(
        rng.standard_normal((shape[1], shape[1])))[0]
    a, b = one(table), one(turned)
    if a.start_rows or b.start_rows or a.live_rows != b.live_rows: return # a length on a bin's edge
    assert a.ia_live == pytest.approx(b.ia_live, rel=1e-6)
    assert a.effective_rank_live == pytest.approx(b.effective_rank_live, rel=1e-6)
    assert a.p == pytest.approx(b.p, abs=.002)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_dtype_does_not_matter(dtype):
    table = trained(400, 6).astype(np.float16)
    a, b = one(table.astype(dtype)), one(table.astype(float))
    assert a.spectrum == pytest.approx(b.spectrum, rel=1e-9) and a.verdict == b.verdict
    assert a.mb == pytest.approx(table.size * np.dtype(dtype).itemsize / 1e6)


def test_aliases_are_one_row():
    table = trained(50, 4)
    first, second = part("item", table), part("last", table, role="alias")
    found, = measured(first, second, part("other", table.copy(), role="alias"))
    assert found.name == "item" and "under other names: last." in found.notes


# verdicts

def test_untrained_tables_are_untrained_and_few_others():
    rng = np.random.default_rng(4)
    starts = {"torch": lambda s: rng.normal(0, 1, s), "FuxiCTR": lambda s: rng.normal(0, 1e-4, s),
              "Keras": lambda s: rng.uniform(-.05, .05, s), "Xavier": lambda s: rng.normal(0, s[0]**-.5, s),
              "TorchRec": lambda s: rng.uniform(-s[0]**-.5, s[0]**-.5, s)}
    parts = [part(name, start((rows, width)).astype(dtype)) for name, start in starts.items()
             for rows, width in ((50, 8), (1000, 16), (20_000, 40)) for dtype in (np.float32, np.float16)]
    verdicts = [table.verdict for table in measured(*parts)]
    assert verdicts.count("untrained") >= .93 * len(verdicts), verdicts


@pytest.mark.parametrize("moved", [.2, 1])
def test_trained_tables_are_not_untrained(moved):
    "A few popular rows that moved by a standard deviation are enough."
    rng = np.random.default_rng(5)
    table = rng.normal(0, .01, (2000, 16))
    table[:int(2000 * moved)] *= 1 + rng.gamma(1, size=(int(2000 * moved), 1))
    assert one(table).verdict == "healthy"


def test_verdicts_follow_their_definitions():
    rng = np.random.default_rng(6)
    even = trained(2000, 16)
    low = trained(2000, 4) @ rng.standard_normal((4, 16)) + .01 * even
    cases = {"healthy": even, "one direction dominates": even + 5, "low rank": low,
             "untrained": rng.normal(size=(2000, 16)), "cannot tell": rng.normal(size=(5, 3))}
    found = measured(*(part(name, table) for name, table in cases.items()))
    assert [table.verdict for table in found] == list(cases) == [v for v in cases if v in VERDICTS]
    for table in found: assert table.reason.endswith(".") and "nan" not in table.reason
    assert found[2].width99 == 4 and found[2].mb_freed == pytest.approx(.256 * 12 / 16)
    both = one(low + 5) # low rank, and one direction dominates: low rank, whatever is common
    assert both.verdict == "low rank"


def test_one_direction_alone_is_low_rank():
    found = one(trained(200, 1) * np.arange(1, 9))
    assert (found.verdict, found.width99) == ("low rank", 1) and "nothing is left" in found.reason


def test_holm_is_over_the_tables_of_the_report():
    tables = measured(*(part(str(i), trained(300, 6, i)) for i in range(8)))
    p = np.array([table.p for table in tables])
    assert [table.p_holm for table in tables] == pytest.approx(module.holm(p))


def test_initialisers_of_few_bits():
    rng = np.random.default_rng(7)
    rows = torch.tensor(rng.normal(0, .02, (1000, 16))).bfloat16().double().numpy()
    assert initialiser(rows) == "normal"


# what cannot be measured

def test_a_broken_table_does_not_stop_the_others():
    good = trained(90, 4)
    def gone(most):
        yield good[:20]
        raise OSError("no such disk")
    parts = [part("good", good), part("gone", replace(of_array("t", good), read=gone)),
             part("short", replace(of_array("t", good), read=lambda most: iter([good[:20]]))),
             part("long", replace(of_array("t", good), read=lambda most: iter([good, good]))),
             part("said", replace(of_array("t", good), problem="its type is unknown.")),
             part("empty", good[:0]), part("vector", good[0]), part("no column", good[:, :0]),
             part("int8", np.ones((5, 4), np.int8)), part("wide", np.ones((2, 5000))),
             part("padding", np.zeros((3, 4)), padding=(0, 1, 2)), part("nan", np.full((3, 4), np.nan)),
             part("one row", good[:1]), part("one column", good[:, :1]),
             part("equal", np.tile(good[:1], (9, 1)))]
    found = {table.name: table for table in measured(*parts)}
    assert len(found) == len(parts) and found["good"].verdict == "healthy"
    for name, table in found.items():
        if name == "good": continue
        assert table.verdict == "cannot tell" and table.reason, name
    for name, said in {"gone": "no such disk", "short": "20 rows came of the 90",
                       "long": "180 rows came of the 90",
                       "said": "its type is unknown.", "empty": "is empty", "vector": "shape (4,)",
                       "no column": "is empty", "int8": "quantised", "wide": "5,000 columns",
                       "nan": "3 of 3 rows"}.items(): assert said in found[name].problem, name
    report = Report(list(found.values()))
    assert len(report.problems) == 10 and len(report.frame()) == len(parts)
    jsonschema.validate(json.loads(report.to_json()), REPORT_SCHEMA)
    assert str(report).count("\n") > len(parts)


# hits

def test_counts_of_a_wrong_length_or_name():
    rng = np.random.default_rng(8)
    found, notes = _tables([part("a", trained(30, 4)), part("b", trained(20, 4)), part("c", trained(10, 4))],
                           hits({"a": rng.integers(1, 9, 30), "b": np.ones(30), "c": np.zeros(10),
                                 "d": [1]}), 0)
    assert found[0].ia_weighted > 1 and math.isnan(found[1].ia_weighted) and math.isnan(found[2].ia_weighted)
    assert "Its counts are of 30 rows, but it has 20" in found[1].notes and "all zero" in found[2].notes
    assert "d" in notes[0]


def test_counts_from_a_data_set(tmp_path):
    x = np.array([[0, 1], [2, 1], [0, 1]], np.int32)
    (tmp_path / "d").mkdir()
    write_encoded(tmp_path / "d", "toy", FieldSchema(["site", "app"], [3, 2]), (3, 0, 0),
                  [(x, np.array([0, 1, 1], np.uint8))], {})
    assert {name: values.tolist() for name, values in hits(tmp_path / "d").items()} == {
        "site": [2, 0, 1], "app": [0, 3]}


@pytest.mark.parametrize("wrong", ['{"a": "x"}', '{"a": [[1]]}', '{"a": [-1]}', '{"a": [NaN]}', "[1]", "{",
                                   '{"a": {"b": 1}}'])
def test_counts_that_are_none(tmp_path, wrong):
    (tmp_path / "c.json").write_text(wrong)
    with pytest.raises(InputError): hits(tmp_path / "c.json")


def test_parquet_counts_that_lie(tmp_path):
    for row in (-1, 2**40):
        pd.DataFrame({"name": ["a"], "row": [row], "count": [1]}).to_parquet(tmp_path / "c.parquet")
        with pytest.raises(InputError, match="row number"): hits(tmp_path / "c.parquet")
    pd.DataFrame({"name": ["a"]}).to_parquet(tmp_path / "c.parquet")
    with pytest.raises(InputError, match=r"c\.parquet"): hits(tmp_path / "c.parquet")


# the report

def report(**tables) -> Report: return Report(measured(*(part(name, t) for name, t in tables.items())))

def test_json_is_what_the_schema_says():
    found = report(a=trained(60, 4), b=np.zeros((3, 2)), c=trained(60, 4) + 9)
    found.left_out = [{"key": "w", "shape": (3, 4), "role": "dense layer", "why": "A bias stands beside it."}]
    document = json.loads(found.to_json())
    jsonschema.Draft202012Validator.check_schema(REPORT_SCHEMA)
    jsonschema.validate(document, REPORT_SCHEMA)
    assert document["tables"][1]["ia"] is None
    assert document["tables"][0]["ia"] == found.tables[0].ia
    document["tables"][0]["verdict"] = "fine"
    with pytest.raises(jsonschema.ValidationError): jsonschema.validate(document, REPORT_SCHEMA)


def test_spectra_lie_beside_the_band():
    spectra = report(a=np.random.default_rng(0).standard_normal((500, 6)), b=np.ones((1, 3))).spectra()
    assert list(spectra["name"]) == ["a"] * 6 + ["b"]
    inside = spectra["singular_value"].between(spectra["null_low"], spectra["null_high"])
    assert inside[:6].sum() >= 5 and spectra["null_low"].isna()[6]


def test_compare_says_which_tables_fell():
    rng = np.random.default_rng(9)
    table = trained(500, 8)
    low = trained(500, 2) @ rng.standard_normal((2, 8))
    before = report(same=table, fell=table, rose=low, gone=table, longer=table)
    after = report(rose=table, fell=low, same=table, longer=np.r_[table, table[:9]], new=table)
    change = before.compare(after).set_index("name")
    assert change["change"].to_dict() == {"same": "as it was", "fell": "fell", "rose": "rose", "gone": "gone",
                                          "longer": "as it was", "new": "new"}
    assert change.loc["longer", "notes"] == "rows 500 before, 509 after"
    assert list(change["verdict_after"]["fell":"fell"]) == ["low rank"]
    renamed = Report([replace(t, key=f"module.{t.key}") for t in after.tables])
    assert (before.compare(renamed)["change"].tolist() == change["change"].tolist())


def test_failures_against_a_baseline():
    rng = np.random.default_rng(10)
    table, low = trained(500, 8), trained(500, 2) @ rng.standard_normal((2, 8))
    first = report(a=table, b=low)
    baseline = json.loads(first.to_json())
    assert [s[:12] for s in first.failures()] == ["b: low rank,"]
    assert first.failures(baseline=baseline) == []
    worse = report(a=low, b=low, c=low)
    assert [s.split(":")[0] for s in worse.failures(["low-rank"], baseline)] == [
        "a, in the baseline healthy", "c, which is new"]
    assert worse.failures({"untrained"}) == []
    assert report(a=table + 9, b=table).failures({"one direction dominates"}, baseline)
    for wrong in ({}, {"tables": 3}, {"tables": [{"key": "a"}]}, [],
                  {"tables": [{"key": "a", "name": "a", "verdict": "fine"}]}):
        with pytest.raises(InputError, match="earlier report"): first.failures(baseline=wrong)
    with pytest.raises(InputError, match="unknown verdict"): first.failures({"collapsed"})


# the whole way

def test_arrays_and_a_state_dict():
    rng = np.random.default_rng(11)
    found = module.diagnose({"user": trained(200, 8), "item": rng.normal(size=(300, 8)).astype(np.float32)})
    assert list(found.frame()["name"]) == ["user", "item"] and found.seconds > 0
    assert list(found.frame()["dim"]) == [8, 8]
    model = torch.nn.ModuleDict({"item": torch.nn.Embedding(50, 4), "top": torch.nn.Linear(4, 1)})
    for target in (model, model.state_dict()):
        found = module.diagnose(target)
        assert [table.name for table in found.tables] == ["item"]
        assert {part["key"] for part in found.left_out} == {"top.weight", "top.bias"}
        assert all(part["why"] for part in found.left_out)


def test_threads_do_not_change_what_is_seen(monkeypatch):
    table = trained(5000, 7)
    def found(threads):
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        return one(in_blocks(table, [700] * 7))
    one_thread, three = found(1), found(3)
    assert one_thread.spectrum == pytest.approx(three.spectrum, rel=1e-12)
    assert three.spectrum == found(3).spectrum # to the last bit
    assert (one_thread.groups, one_thread.verdict) == (three.groups, three.verdict)


def test_memory_does_not_grow_with_the_table():
    "A pass keeps a histogram, a sample, and a few Gram matrices, however many rows go by."
    seen = TablePass(10**9, 16)
    block = np.random.default_rng(12).standard_normal((50_000, 16), dtype=np.float32)
    for i in range(4): seen.take(block, i * 10**7)
    kept = sum(value.nbytes for value in vars(seen).values() if isinstance(value, np.ndarray))
    assert kept + sum(gram.nbytes for gram in seen.grams.values()) < 2**20




@pytest.mark.parametrize("rows, width", [(200, 8), (1000, 16), (5000, 64)])
def test_rows_of_unequal_length_are_not_taken_for_few_directions(rows, width):
    "Lengths spread over decades, as popularity spreads them, change no verdict on the directions."
    rng = np.random.default_rng(rows)
    full = rng.normal(size=(rows, width))
    few = rng.normal(size=(rows, 3)) @ rng.normal(size=(3, width)) + .01 * full
    offset = full + 8 * np.eye(width)[0]
    for spread in (1., 2.):
        lengths = np.exp(spread * rng.normal(size=(rows, 1)))
        for table, verdict in [(full, "healthy"), (few, "low rank"), (offset, "one direction dominates")]:
            found = module.diagnose({"t": (table * lengths).astype(np.float32)}).tables[0]
            assert found.verdict == verdict, (spread, found.reason)
    falling = np.arange(1, rows + 1)[:, None] ** -.7
    assert module.diagnose({"t": (full * falling).astype(np.float32)}).tables[0].verdict == "healthy"


def test_lengths_are_evened_out_bin_by_bin():
    "Against unit rows, whose abundance it comes near, since a bin spans a factor of 4 in length."
    rng = np.random.default_rng(0)
    table = rng.normal(size=(2000, 8)) * np.exp(2 * rng.normal(size=(2000, 1)))
    seen = TablePass(2000, 8)
    seen.take(table)
    exact = np.linalg.svd(table / np.linalg.norm(table, axis=1, keepdims=True), compute_uv=False)
    even = seen.spectrum(seen.even_gram())
    assert even.sum() / even[0] == pytest.approx(exact.sum() / exact[0], rel=.03)
    assert (even**2).sum() == pytest.approx(2000, rel=1e-9) # each row counts as one


def test_rows_of_one_number_are_in_no_spectrum_of_live_rows():
    "Neither as they are nor with lengths evened out; there may be many more of them than of others."
    rng = np.random.default_rng(1)
    table = rng.normal(size=(400, 8))
    with_ones = np.concatenate([table, np.full((4000, 8), .9)])
    plain, mixed = (module.diagnose({"t": rows.astype(np.float32)}).tables[0] for rows in (table, with_ones))
    assert mixed.constant_rows == 4000 and mixed.live_rows == 400
    np.testing.assert_allclose(mixed.spectrum, plain.spectrum, rtol=1e-6)
    np.testing.assert_allclose(mixed.even_spectrum, plain.even_spectrum, rtol=1e-6)


@pytest.mark.parametrize("times", [100, 1000, 1e6])
def test_a_row_that_ran_away_does_not_make_the_others_decayed(times):
    rng = np.random.default_rng(0)
    few, many = rng.normal(size=(1000, 2)) @ rng.normal(size=(2, 16)), rng.normal(size=(1000, 16))
    for table in (few, many): table[3] *= times
    low, fine = measured(part("few", few), part("many", many))
    assert (low.decayed_rows, fine.decayed_rows) == (0, 0)
    assert (low.live_rows, low.verdict, fine.live_rows, fine.verdict) == (1000, "low rank", 1000, "healthy")
    assert "1 row more than ten times as long as the median live one" in fine.groups


def test_long_rows_are_named_where_they_are_most_of_the_energy():
    rng = np.random.default_rng(1)
    table = rng.normal(size=(2000, 8))
    assert "ten times" not in one(table * rng.exponential(size=(2000, 1))).groups
    table[7] *= 12 # of 12^2 of 2143 parts of the energy
    assert "ten times" not in one(table).groups
    table[7] *= 20
    assert "1 row more than ten times as long" in one(table).groups


def test_a_model_without_tables_is_a_problem():
    report = module.diagnose({"bias": np.zeros(3)})
    assert report.tables == [] and "No embedding table was found among 1 tensor:" in report.problems[0]
    assert report.problems[0] in str(report)
