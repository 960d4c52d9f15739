"""Products in bfloat16 stay near float32's; a sequence of thousands of steps is torch's Adam; a model too
large for memory is refused."""
from unittest.mock import patch

import pytest
import torch
from test_training import SCHEMA, dataset, split

from collapse_nb.data.made_up.synthetic import synthetic
from collapse_nb.nn.zoo import BASE_DIM, MULTI, ModelSpec, build
from collapse_nb.records import InputError
from collapse_nb.train import memory
from collapse_nb.train.fit import Recipe, fit
from collapse_nb.train.recipe import computing, optimizers, reduced
from collapse_nb.train.runs import Group, RunStore
from collapse_nb.train.step import replica_losses
from collapse_nb.train.sweep import run_group, sweep

CPU = torch.device("cpu")
needs_bfloat16 = pytest.mark.skipif("bfloat16" not in reduced(CPU),
                                    reason="this processor has no bfloat16 products")
CELLS = [(m, d) for m in BASE_DIM for d in ("SE", "ME") if d == "SE" or m in MULTI]


@needs_bfloat16
@pytest.mark.parametrize("model, design", CELLS)
def test_bfloat16_stays_near_float32(model, design):
    "Training losses to 1 %, gradients to a cosine of .99, logits to 2 % of their spread, all in float32."
    x, y = (torch.as_tensor(t) for t in (split(2000, 0).x, split(2000, 0).y))
    results = {}
    for precision in ("float32", "bfloat16"):
        one = build(ModelSpec(model, design, 2, dropout=0), SCHEMA, 2)
        with computing(precision, CPU): losses = replica_losses(one, x, y)
        losses.sum().backward()
        with computing(precision, CPU), torch.no_grad(): logits = one.eval()(x)
        assert losses.dtype == logits.dtype == torch.float32
        results[precision] = losses.detach(), torch.cat([p.grad.flatten() for p in one.parameters()
                                                           if p.requires_grad]), logits
    (a, g, full), (b, h, half) = results.values()
    assert torch.allclose(a, b, rtol=.01)
    assert torch.cosine_similarity(g, h, dim=0) > .99
    assert (full - half).square().mean().sqrt() < .02 * full.std() + .002


@needs_bfloat16
def test_fit_computes_in_the_recipe_s_precision():
    "Another number in the last places, the same model to the eye; and a run repeats bit for bit."
    data = dataset(4000)
    recipes = [Recipe(batch_size=256, max_epochs=3, precision=kind)
               for kind in ("float32", "bfloat16", "bfloat16")]
    runs = [fit(build(ModelSpec("DNN", hidden=32), SCHEMA, 2), data, recipe, "cpu", show=False)
            for recipe in recipes]
    assert not torch.equal(runs[0].test_logits, runs[1].test_logits)
    assert torch.equal(runs[1].test_logits, runs[2].test_logits)
    assert runs[1].frame.test_auc.sub(runs[0].frame.test_auc).abs().max() < .02


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW"])
def test_thousands_of_steps_are_torch_s_own(optimizer):
    "Gradients as lists of rows change nothing: in float64, 2,000 steps end where whole gradients do."
    rows = split(32 * 50, 0)
    def trained(library: bool) -> list[torch.Tensor]:
        model = build(ModelSpec("FM"), SCHEMA, 2).double()
        plain = getattr(torch.optim, optimizer)(model.parameters(), lr=1e-3, weight_decay=1e-6)
        steppers = optimizers(model, Recipe(optimizer=optimizer)) if library else [plain]
        for step in range(2000):
            at = slice(step % 50 * 32, step % 50 * 32 + 32)
            for stepper in steppers: stepper.zero_grad()
            replica_losses(model, torch.as_tensor(rows.x[at]),
                           torch.as_tensor(rows.y[at]).double()).sum().backward()
            for stepper in steppers: stepper.step()
        return [p.detach() for p in model.parameters()]
    for ours, theirs in zip(trained(True), trained(False), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def test_a_sweep_gives_way_to_small_memory(tmp_path):
    """Room for two seeds: four are cut in two. Room for none: one sentence with the bytes, and nothing is
    filed."""
    data = synthetic(300)
    spec, recipe = ModelSpec("DNN", hidden=8), Recipe(max_epochs=1)
    group = Group(dataset=data.name, fingerprint=data.fingerprint, spec=spec, recipe=recipe, seeds=range(4))
    run = lambda g: run_group(g, data, "cpu", show=False)
    two = memory.needed_bytes(group.spec, data.schema, 2)
    with patch.object(memory, "free_bytes", lambda device: two):
        frame = sweep([group], RunStore(tmp_path / "a"), run=run, show=False)
    assert frame.seed.tolist() == [0, 1, 2, 3] and set(frame.replicas) == {2}
    with patch.object(memory, "free_bytes",
                      lambda device: 1000), pytest.raises(InputError,
                                                          match=r"with one seed needs at least 0\.0 GB"):
        sweep([group], RunStore(tmp_path / "b"), run=run, show=False)
    assert not list((tmp_path / "b").glob("*"))
