"""The penalty on DCNv2's blocks across modules: against loops for every design, replica by replica, trained,
stored and read back."""
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from collapse_nb.controls import treatment
from collapse_nb.data.dataset import Encoded, Split
from collapse_nb.fields import FieldSchema
from collapse_nb.nn.zoo import Model, ModelSpec, build
from collapse_nb.overfitting import (
    FORMS,
    batch_spectra,
    cross_blocks,
    initial_penalty,
    lone_replica,
    matched_weight,
    per_replica,
    projections,
    regularize_blocks,
)
from collapse_nb.records import InputError
from collapse_nb.train.fit import Recipe, predict
from collapse_nb.train.rows import Rows
from collapse_nb.train.runs import Group, RunStore
from collapse_nb.train.step import penalties
from collapse_nb.train.sweep import run_group, sweep

ROOT = Path(__file__).resolve().parents[1]
FIELDS = FieldSchema(["a", "b", "c"], [7, 30, 5])


def small(design: str, scale: int, seeds: tuple[int, ...]) -> Model:
    return build(ModelSpec("DCNv2", design, scale, base_dim=3, hidden=6), FIELDS, len(seeds), seeds).double()

def scattered(model: Model, seed: int) -> None:
    "Move λ and the gates away from one."
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "targets" in name or "gate" in name: p.uniform_(.2, 2, generator=generator)

def loop(model: Model, form: str, weight: float) -> Tensor:
    "The regulariser one replica, layer, set and pair at a time, as it is printed."
    N, K, M = 3, model.spec.dim, model.spec.num_sets
    one, total = torch.eye(K, dtype=torch.float64), []
    for r in range(model.replicas):
        charge = torch.zeros((), dtype=torch.float64)
        for k, layer in enumerate(model.interaction.layers):
            for g in range(r * M, r * M + M):
                for i in range(N):
                    for j in range(N):
                        W = layer.weight[g][j * K:(j + 1) * K, i * K:(i + 1) * K]
                        if form == "paper": scatter = W.T @ W - model.targets.weight[g, k, i, j] * one
                        else: scatter = one - W @ W.T
                        charge = charge + scatter.norm() ** 2
        total.append(weight * charge)
    return torch.stack(total)


@pytest.mark.parametrize("design, scale", [("SE", 1), ("SE", 3), ("ME", 1), ("ME", 3)])
@pytest.mark.parametrize("form", FORMS)
def test_penalty_and_gradient_equal_a_loop(form, design, scale):
    model = small(design, scale, (3, 5))
    regularizer = regularize_blocks(model, form, .25)
    scattered(model, 0)
    ours, theirs = penalties(model, regularizer), loop(model, form, .25)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    leaves = [p for n, p in model.named_parameters() if n.startswith(("interaction", "targets"))
              and "bias" not in n and "gate" not in n]
    for a, b in zip(*(torch.autograd.grad(total.sum(), leaves) for total in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_replicas_are_charged_as_if_alone(form):
    together, alone = small("ME", 2, (4, 9)), small("ME", 2, (9,))
    charged = partial(regularize_blocks, form=form, weight=1.)
    torch.testing.assert_close(charged(together)(together)[1:], charged(alone)(alone), rtol=0, atol=1e-10)
    state = together.replica_state(1)
    assert {n: t.shape for n, t in state.items()} == {n: t.shape for n, t in alone.state_dict().items()}


def test_gates_act_in_the_forward_pass_and_not_in_the_penalty():
    model, plain = small("ME", 2, (0, 1)).eval(), small("ME", 2, (0, 1)).eval()
    regularizer = regularize_blocks(model, "released", 1.)
    x = torch.tensor([[1, 2, 3], [6, 29, 4]])
    torch.testing.assert_close(model(x), plain(x))
    before = regularizer(model)
    scattered(model, 1)
    torch.testing.assert_close(regularizer(model), before)
    with torch.no_grad():
        for layer, gated in zip(plain.interaction.layers, model.interaction.layers, strict=True):
            for g in range(4):
                for i in range(3):
                    for j in range(3):
                        layer.weight[g, 3 * j:3 * j + 3, 3 * i:3 * i + 3] *= gated.gate[g, i, j]
    torch.testing.assert_close(model(x), plain(x))
    torch.testing.assert_close(*(torch.tensor(projections(m)["size"]) for m in (model, plain)))


@pytest.mark.parametrize("num_fields, scale", [(5, 1), (8, 4)])
def test_expected_penalty_at_the_start(num_fields, scale):
    "Over many replicas the mean lies within four standard errors, and the matched weight levels it."
    fields = FieldSchema([f"f{i}" for i in range(num_fields)], [2] * num_fields)
    model = build(ModelSpec("DCNv2", scale=scale, hidden=4), fields, 40)
    with torch.no_grad(): drawn = penalties(model, regularize_blocks(model, "released", 1.)).double()
    expected = initial_penalty(num_fields, 10 * scale)
    assert abs(drawn.mean() - expected) < 4 * drawn.std() / 40**.5
    weighted = matched_weight(num_fields, 10 * scale) * expected
    assert weighted == pytest.approx(1e-5 * initial_penalty(num_fields, 10))


def clicks(num_rows: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, [7, 30, 5], (num_rows, 3)).astype(np.int32)
    return Split(x, ((x[:, 0] * x[:, 1] % 3 == 0) ^ (rng.random(num_rows) < 0.25)).astype(np.uint8))

@pytest.mark.parametrize("form", FORMS)
def test_trained_stored_and_read_back(tmp_path, form):
    "λ or gates come back with the weights; the penalty makes the blocks more even than they are without it."
    data = Encoded("made-up", FIELDS, clicks(4000, 0), clicks(500, 1), clicks(500, 2), "made-up", 0.5)
    recipe = Recipe(batch_size=100, learning_rate=1e-2, patience=2, max_epochs=4)
    spec, store = ModelSpec("DCNv2", base_dim=4, hidden=8), RunStore(tmp_path, weights=True)
    regularised, treat = treatment("blocks", form=form, weight=1e-2)
    treats = {"": None, regularised: treat}
    groups = [Group(dataset=data.name, fingerprint=data.fingerprint, spec=spec, treatment=name, recipe=recipe,
                    seeds=(0, 1)) for name in treats]
    sweep(groups, store, run=lambda g: run_group(g, data, "cpu", show=False, treat=treats[g.treatment]),
          show=False)
    plain, ours = (store.model(g, treats[g.treatment]) for g in groups)
    logits = predict(ours, Rows(data, "test", FIELDS, torch.device("cpu")))
    kept = torch.from_numpy(np.array(store.array(groups[1].id, "test_logits")))
    torch.testing.assert_close(logits.half(), kept)
    assert (projections(ours).evenness > projections(plain).evenness + .1).all()
    moved = [p for n, p in ours.named_parameters() if "targets" in n or "gate" in n]
    assert moved and all((p - 1).abs().max() > 1e-3 for p in moved)


def test_penalty_fits_in_memory_at_the_largest_size():
    """K = 100 and N = 13 in float32: the copies of all blocks are a few times W, and nothing of size N² K²
    more."""
    fields = FieldSchema([f"f{i}" for i in range(13)], [2] * 13)
    model = build(ModelSpec("DCNv2", scale=10, hidden=4), fields)
    regularizer = regularize_blocks(model, "released", 1e-5)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
        charge = regularizer(model)
    charge.sum().backward()
    W = sum(layer.weight.nbytes for layer in model.interaction.layers)
    assert cross_blocks(model).numel() * 4 == W and sum(kept) <= 5 * W
    assert all(layer.weight.grad.isfinite().all() for layer in model.interaction.layers)


def test_sum_is_over_a_replicas_own_groups():
    model = small("ME", 2, (0, 1, 2))
    values = torch.arange(6.).expand(4, 6)
    assert per_replica(values, model).tolist() == [4., 20., 36.]


def test_batch_spectra_of_a_model_without_projections():
    model = build(ModelSpec("DNN", base_dim=4), FIELDS, 2)
    frame = batch_spectra(model, torch.from_numpy(clicks(300, 3).x))
    assert len(frame) == 6 and frame.ia_norm.between(0, 1).all() and (frame.effective_rank >= frame.ia).all()


def test_papermill_refuses_a_size_without_its_plain_model(tmp_path):
    command = ["-m", "papermill", str(ROOT / "nbs/04_overfitting.ipynb"), str(tmp_path / "done.ipynb"), "-y",
               "{regularised_scales: [7]}"]
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode and "every regularised scale too" in done.stderr


@pytest.mark.parametrize("form", FORMS)
def test_a_replica_by_itself_is_measured_beside_one_that_diverged(form):
    model, x = small("ME", 2, (4, 9, 2)).eval(), torch.tensor([[1, 2, 3], [6, 29, 4], [2, 8, 1]])
    treat = partial(regularize_blocks, form=form, weight=1.)
    treat(model)
    scattered(model, 3)
    expected, logits = projections(model).iloc[[1]].reset_index(drop=True), model(x)[1]
    spectra = batch_spectra(model, x).query("seed == 9").reset_index(drop=True)
    with torch.no_grad():
        for tensor in model.replica_state(0).values(): tensor.fill_(torch.nan)
    for measure in (projections, lambda m: batch_spectra(m, x)):
        with pytest.raises(InputError, match="leave it out"): measure(model)
    lone = lone_replica(model, 1, treat)
    torch.testing.assert_close(lone(x)[0], logits)
    pd.testing.assert_frame_equal(projections(lone), expected)
    pd.testing.assert_frame_equal(batch_spectra(lone, x), spectra)
