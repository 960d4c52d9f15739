"Proofs of the appendix at any size, controls that stay what they are in training, figures from stored rows."
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from collapse_nb.controls import (
    block_diagonal_cross,
    disjoint,
    divergence,
    restrict_divergence,
    share_interaction,
    stored_models,
)
from collapse_nb.data.made_up.synthetic import synthetic
from collapse_nb.fields import FieldSchema
from collapse_nb.multi_embedding import (
    ME_IN_SE,
    SAME,
    SE_IN_ME,
    appendix_proofs,
    as_single,
    block_diagonal,
    diagonal_blocks,
    joined_columns,
    linear_cka,
    set_order,
    side_by_side,
    split_columns,
)
from collapse_nb.nn.interactions import CrossNetwork
from collapse_nb.nn.zoo import MULTI, Model, ModelSpec, build
from collapse_nb.records import InputError
from collapse_nb.results import read_table, save_table
from collapse_nb.show import charts
from collapse_nb.show import multi_embedding as figures
from collapse_nb.train.fit import Recipe, fit
from collapse_nb.train.parameters import Study
from collapse_nb.train.runs import RunStore
from collapse_nb.train.sweep import run_group, sweep

CARDINALITIES = (6, 9, 3)
SCHEMA = FieldSchema("abc", CARDINALITIES)
SEEDS = (4, 0, 7)
DESIGNS = {share_interaction: "ME", restrict_divergence: "ME", block_diagonal_cross: "SE"}


def split(n: int, seed: int) -> SimpleNamespace:
    g = torch.Generator().manual_seed(seed)
    x = torch.stack([torch.randint(d, (n,), generator=g) for d in CARDINALITIES], 1)
    likely = ((x[:, 0] + x[:, 1]) % 3 == 0).double() * 0.6 + 0.2
    return SimpleNamespace(x=x.int().numpy(), y=(torch.rand(n, generator=g) < likely).to(torch.uint8).numpy())

DATA = SimpleNamespace(train=split(1600, 0), valid=split(200, 1), test=split(200, 2))

def trained(treat, seeds: tuple[int, ...] = SEEDS, **recipe) -> Model:
    "A treated DCNv2 of two sets, no dropout, float64, after 50 steps."
    model = build(ModelSpec("DCNv2", DESIGNS.get(treat, "ME"), 2, base_dim=3, hidden=12, dropout=0.), SCHEMA,
                  len(seeds), seeds).double()
    regularizer = treat(model) if treat else None
    fit(model, DATA, Recipe(batch_size=32, max_epochs=1, **recipe), device="cpu", regularizer=regularizer,
        show=False)
    return model


@settings(max_examples=30, deadline=None, database=None, derandomize=True)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
def test_me_of_linear_interactions_is_se_at_any_size(N, M, K):
    g = torch.Generator().manual_seed(N + 10 * M + 100 * K)
    e = torch.randn(7, N, M, K, generator=g, dtype=torch.double)
    ours, order = e.transpose(1, 2).flatten(2), set_order(N, M, K) # (B, M, N·K)
    assert torch.equal(e.flatten(1)[:, order], ours.flatten(1))
    W = torch.randn(M, 5, N * K, generator=g, dtype=torch.double)
    torch.testing.assert_close(e.flatten(1) @ joined_columns(W, N).T, torch.einsum("bmf,mhf->bh", ours, W),
                               rtol=0, atol=1e-12)
    assert torch.equal(split_columns(joined_columns(W, N), N, M), W)
    cross = CrossNetwork(M, N, K).double()
    for layer in cross.layers: layer.weight.data.normal_(generator=g); layer.bias.data.normal_(generator=g)
    wide = as_single(cross, N, M)(e.flatten(2)[None])[0, :, order]
    torch.testing.assert_close(wide, cross(ours.transpose(0, 1)[:, :, None]).transpose(0, 1).flatten(1),
                               rtol=1e-11, atol=1e-11)
    square = torch.randn(2, M, N * K, N * K, generator=g)
    assert torch.equal(diagonal_blocks(block_diagonal(square, N), N, M), square)


@settings(max_examples=15, deadline=None, database=None, derandomize=True)
@given(st.integers(2, 4), st.integers(2, 5), st.integers(1, 4))
def test_every_model_of_table_1_at_any_size(M, N, K):
    proofs = appendix_proofs(M, N, K)
    assert {proof.model for proof in proofs} == set(MULTI)
    assert all(proof.difference < 1e-11 for proof in proofs)
    for proof in proofs: # a way back, or a counter-example that the special case cannot give
        if proof.relation == SAME: assert np.isnan(proof.larger)
        else: assert proof.smaller < 1e-11 < 1e-3 < proof.larger
    relations = {proof.model: proof.relation for proof in proofs}
    assert relations == {"DNN": SAME, "IPNN": SAME, "FinalMLP": SAME, "DCNv2": ME_IN_SE, "NFwFM": SE_IN_ME,
                         "xDeepFM": SE_IN_ME}


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_se_is_inside_me_of_the_cin_with_and_without_its_relu(variant):
    "By the models as they are built: §5.1's demand, which `paper` does not meet, is not needed for this."
    M, x = 3, torch.as_tensor(DATA.train.x[:40])
    def cin_of(design, seed):
        model = build(ModelSpec("xDeepFM", design, M, variant, base_dim=2, hidden=10), SCHEMA, 1, [seed])
        return model.double().eval()
    single, multi, other = cin_of("SE", 0), cin_of("ME", 0), cin_of("ME", 1)
    def pooled(model): return model.interaction(model.embedding(x))[..., :model.head.pooled_dim].mean(0)
    with torch.no_grad():
        multi.embedding.weight.copy_(single.embedding.weight)
        for to, layer in zip(multi.interaction.cin, single.interaction.cin, strict=True):
            for mine, its in zip(to.parameters(), layer.parameters(), strict=True): mine.copy_(its)
        torch.testing.assert_close(pooled(multi), pooled(single) / M, rtol=0, atol=1e-14)
        other.embedding.weight.copy_(single.embedding.weight)
        before = pooled(other), pooled(single)
        for model in (other, single): # the sets' tables change places
            model.embedding.weight.copy_(model.embedding.weight.unflatten(1, (M, 2)).flip(1).flatten(1))
        torch.testing.assert_close(pooled(single), before[1], rtol=0, atol=1e-14)
        assert (pooled(other) - before[0]).abs().max() > 1e-9


def test_block_diagonal_by_loops():
    N, M, K = 3, 2, 2
    W = torch.randn(M, N * K, N * K)
    expected = torch.zeros(N, M, K, N, M, K)
    for m in range(M):
        for j in range(N):
            for i in range(N): expected[j, m, :, i, m, :] = W[m, j * K:(j + 1) * K, i * K:(i + 1) * K]
    assert torch.equal(block_diagonal(W, N), expected.reshape(N * M * K, -1))


@pytest.mark.parametrize("treat", DESIGNS)
def test_three_treated_replicas_are_three_trainings(treat):
    trio = trained(treat)
    for r, seed in enumerate(SEEDS):
        for name, t in trained(treat, (seed,)).replica_state(0).items():
            torch.testing.assert_close(trio.replica_state(r)[name], t, rtol=0, atol=1e-9,
                                       msg=lambda m, n=name: f"{n}: {m}")


def per_set(weight: Tensor) -> Tensor: return weight.unflatten(0, (-1, 2))

def test_shared_weights_stay_shared_and_move():
    model, start = trained(share_interaction), build(ModelSpec("DCNv2", "ME", 2, base_dim=3, hidden=12),
                                                     SCHEMA, 3, SEEDS).double()
    for layer, before in zip(model.interaction.layers, start.interaction.layers, strict=True):
        assert torch.equal(*per_set(layer.weight).unbind(1))
        assert (per_set(layer.weight)[:, 0]
                - per_set(before.weight)[:, 0]).flatten(1).abs().amax(1).min() > .01
    projection = model.projection[0]
    for weight in (projection.linear.weight, projection.norm.weight):
        assert torch.equal(*per_set(weight).unbind(1))
    # a set keeps statistics of its own
    assert not torch.equal(*per_set(projection.norm.running_mean).unbind(1))
    assert not torch.equal(*model.field_tables()[0].unbind(1))


def test_a_slice_never_hears_of_another():
    model = trained(block_diagonal_cross, weight_decay=1e-2)
    e = torch.randn(3, 8, 3, 6, dtype=torch.double, requires_grad=True)
    first = model.interaction(e).unflatten(-1, (3, 2, 3))[..., 0, :]
    gradient, = torch.autograd.grad(first.sum(), e)
    assert gradient[..., 3:].abs().max() == 0 and gradient[..., :3].abs().max() > 0


def test_the_penalty_holds_the_norms_together():
    strong = lambda model: restrict_divergence(model, 1e3)
    free, restricted = (divergence(trained(t)) for t in (None, strong))
    assert (restricted < .5 * free).all()


def test_teams_have_nobody_in_common():
    for n, size in [(20, 4), (20, 10), (7, 3), (2, 2)]:
        teams = disjoint(range(n), size)
        members = [s for team in teams for s in team]
        assert len(teams) == n // size and all(len(team) == size for team in teams)
        assert len(set(members)) == len(members)


def test_stored_models_leave_failed_runs_out(tmp_path):
    data, store = synthetic().head(128), RunStore(tmp_path, weights=True)
    group = Study(max_epochs=1).group(data, ModelSpec("DCNv2", base_dim=2, hidden=4))
    def run(g):
        result, more = run_group(g, data, "cpu", show=False)
        result.frame.loc[1, "status"] = "failed"
        return result, more
    sweep([group], store, run=run, show=False)
    assert list(stored_models(store, group)) == [0]
    without = RunStore(tmp_path / "bare")
    sweep([group], without, run=lambda g: run_group(g, data, "cpu", show=False), show=False)
    with pytest.raises(InputError, match="holds no weights"): stored_models(without, group)
    with pytest.raises(InputError, match="DCNv2 ME 4x on synthetic"):
        stored_models(store, Study().group(data, ModelSpec("DCNv2", "ME", 4)))


def test_cka_is_symmetric_and_indifferent_to_rotation_scale_and_offset():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(40, 5, generator=g), torch.randn(40, 3, generator=g)
    weight = torch.rand(40, generator=g)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=g)).Q
    for w in (None, weight):
        assert abs(linear_cka(a, b, w) - linear_cka(b, a, w)) < 1e-12
        assert abs(linear_cka(a, b, w) - linear_cka(-2 * a @ turn + 3, b, w)) < 1e-5
        assert 0 <= linear_cka(a, b, w) <= 1
    wide = side_by_side(torch.stack([a, a]))
    assert wide.shape == (40, 10) and abs(linear_cka(wide, a) - 1) < 1e-12


# figures

PLACES = [*(f"§5.3, Fig. 8{panel}" for panel in "abcd"), figures.ARM, figures.CKA]

def made_up(num_fields: int, null_at_ten: bool = True) -> dict[str, pd.DataFrame]:
    "Rows as notebook 05 saves them, of random numbers, with two seeds."
    rng, fields = np.random.default_rng(0), [(f"field {i}", 3 + 7 * i) for i in range(num_fields)]
    cells = [dict(seed=s, field=f, cardinality=d) for s in (0, 1) for f, d in fields]
    kinds = [(k, s) for k in figures.TABLES for s in (4, 10) if k != "apart" or s == 4 or null_at_ten]
    whole = [dict(design=k, scale=s, set="all", ia=rng.uniform(1, s), **c) for k, s in kinds for c in cells]
    single = [dict(design=k, scale=4, set=str(m), ia=rng.uniform(1, 4), **c) for k in ("ME", "apart")
              for m in range(4) for c in cells]
    norms = [(k, 4, 0, m, i, j, rng.uniform(1, 2)) for k in figures.SETS for m in range(4) for i, _ in fields
             for j, _ in fields]
    arms = [("base", 1), ("SE", 4), ("ME", 4), ("SE", 10), ("ME", 10), (figures.RESTRICTED, 4),
            ("ensemble", 4)]
    arms = pd.DataFrame(arms, columns=["arm", "scale"]).assign(n=2, mean=.8, low=.79, high=.81,
                                                               table_parameters=1e6, dense_parameters=2e5)
    findings = pd.DataFrame({"where": PLACES, "claim": "made-up rows say something"})
    findings = findings.assign(value=.2, low=.1, high=.3, p=.06, verdict="cannot tell", alone="holds")
    alike = [dict(design=k, weighted=w, cka=rng.uniform(0, 1), **c) for k in figures.SETS
             for w in (False, True) for c in cells]
    mlps = pd.DataFrame([("DNN", "hidden", 100, .0002)], columns=["of", "what", "value", "difference"])
    return {"sets-abundance": pd.DataFrame(whole + single), "control-arms": arms,
            "similarity": pd.DataFrame(alike),
            "findings-05": findings,
            "interaction-norms": pd.DataFrame(norms, columns=["design", "scale", "seed", "set", "i", "j",
                                                              "norm"]),
            "hidden-margins": mlps.assign(n=2, low=-.0004, high=.0008, margin=.001, verdict="holds")}


@pytest.mark.parametrize("num_fields, null_at_ten", [(3, False), (39, True)])
def test_figures_are_drawn_from_stored_rows(tmp_path, num_fields, null_at_ten):
    frames = made_up(num_fields, null_at_ten)
    for stem, frame in frames.items(): save_table(frame, f"{stem}-made-up", tmp_path)
    for name, (draw, stems) in figures.FIGURES.items():
        assert set(stems) <= set(frames)
        svg = charts.save(draw(*(read_table(f"{stem}-made-up", tmp_path) for stem in stems)), name, tmp_path)
        width = float(svg.read_text().split('width="')[1].split('"')[0])
        # in the widest of the usual fonts; the column of a page has 733 px
        assert 500 <= width <= 733, f"{name} is {width} px wide"


def test_a_figure_states_its_claim_and_what_the_correction_took_away():
    frames = made_up(3)
    chart = figures.abundance_chart(frames["sets-abundance"], frames["findings-05"])
    assert charts.words(chart.to_dict())[1].startswith(
        "Made-up rows say something: cannot tell, +0.20 (95 % interval +0.10 to +0.30); at face value yes; "
        f"not among {len(PLACES) - 1} tests, p\u00a0=\u00a0.060.")
    nowhere = frames["findings-05"][frames["findings-05"]["where"] == figures.ARM]
    with pytest.raises(InputError, match="no claim of"):
        figures.spread_chart(frames["sets-abundance"], nowhere)
