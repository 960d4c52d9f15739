"""Training many replicas at once is training each of them alone, by the slow loops of tests/reference.py as
well."""
from types import SimpleNamespace

import pytest
import torch
from reference import Reference
from torch import Tensor

from collapse_nb.fields import FieldSchema
from collapse_nb.nn.zoo import BASE_DIM, Model, ModelSpec, build
from collapse_nb.train.fit import Recipe, fit
from collapse_nb.train.step import replica_losses

CARDINALITIES = (6, 9, 3, 2)
SCHEMA = FieldSchema("abcd", CARDINALITIES)
SEEDS = (4, 0, 7)
NO_SETS = ("FFM", "FM")
VARIANTS = [(m, v) for m in BASE_DIM for v in ("paper", "released") if v == "released"
            or m in ("xDeepFM", "FinalMLP", "NFwFM", "FFM")]


def split(n: int, seed: int) -> SimpleNamespace:
    "Rows whose label hangs on a pair of fields; the last id of field b never occurs."
    g = torch.Generator().manual_seed(seed)
    x = torch.stack([torch.randint(d - (i == 1), (n,), generator=g) for i, d in enumerate(CARDINALITIES)], 1)
    likely = ((x[:, 0] + x[:, 1]) % 3 == 0).double() * 0.6 + 0.2
    return SimpleNamespace(x=x.int().numpy(), y=(torch.rand(n, generator=g) < likely).to(torch.uint8).numpy())

def dataset(n: int) -> SimpleNamespace:
    return SimpleNamespace(train=split(n, 0), valid=split(200, 1), test=split(200, 2))

def make(model: str, variant: str, seeds: tuple[int, ...] = SEEDS, **more) -> Model:
    "Two sets where there can be two, no dropout, float64."
    spec = ModelSpec(model, *(("SE", 1) if model in NO_SETS else ("ME", 2)), variant, base_dim=3, hidden=20,
                     **{"dropout": 0.0} | more)
    return build(spec, SCHEMA, len(seeds), seeds).double()

def squares(model: Model) -> Tensor: # (R,)
    "A regulariser: a hundredth of the squared weights of each replica's tables."
    return sum(0.01 * stack.square().flatten(1).sum(1) for stack in model.field_tables())


@pytest.mark.parametrize("model, variant", VARIANTS)
def test_three_replicas_are_three_trainings(model, variant):
    "Every parameter and running statistic, to 1e-9, after 200 steps of Adam."
    data, recipe = dataset(6400), Recipe(batch_size=32, max_epochs=1)
    trio, start = make(model, variant), make(model, variant)
    fit(trio, data, recipe, device="cpu", show=False)
    for r, seed in enumerate(SEEDS):
        lone = make(model, variant, (seed,))
        fit(lone, data, recipe, device="cpu", show=False)
        for name, t in lone.replica_state(0).items():
            torch.testing.assert_close(trio.replica_state(r)[name], t, rtol=0, atol=1e-9,
                                       msg=lambda m, n=name: f"{n}: {m}")
        assert (trio.replica_state(r)["embedding.weight"]
                - start.replica_state(r)["embedding.weight"]).abs().max() > 0.05


def test_regularisers_never_scale_one_another():
    data, recipe = dataset(1600), Recipe(batch_size=32, max_epochs=1)
    trio, free = make("DNN", "paper"), make("DNN", "paper")
    fit(free, data, recipe, device="cpu", show=False)
    together = fit(trio, data, recipe, device="cpu", regularizer=squares, show=False).history
    for r, seed in enumerate(SEEDS):
        lone = make("DNN", "paper", (seed,))
        alone = fit(lone, data, recipe, device="cpu", regularizer=squares, show=False).history
        assert alone.train_loss_nats[0] == pytest.approx(together.train_loss_nats[r], rel=0, abs=1e-9)
        for name, t in lone.replica_state(0).items():
            torch.testing.assert_close(trio.replica_state(r)[name], t, rtol=0, atol=1e-9)
    assert squares(trio).sum() < squares(free).sum()


def before_norm(name: str) -> bool:
    "Shifts that a later batch norm subtracts again: their gradient is zero but for rounding."
    return name == "interaction.norm.bias" or name.endswith(".linear.bias")

def by_replica(model: Model, tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    "Tensors as large as the parameters, cut up by replica."
    with torch.no_grad():
        for name, p in model.named_parameters(): p.copy_(tensors[name])
    return [{n: t for n, t in model.replica_state(r).items() if "running" not in n}
            for r in range(model.replicas)]

def first_step(model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, list[dict[str, Tensor]]]:
    "(R, B) logits and each replica's gradients; the model is spent."
    logits = model(x).detach()
    replica_losses(model, x, y).sum().backward()
    return logits, by_replica(model, {n: torch.zeros_like(p) if p.grad is None else p.grad
                                      for n, p in model.named_parameters()})


@pytest.mark.parametrize("model", BASE_DIM)
def test_first_step_in_float32(model):
    "Logits to 1e-5, gradients to 1e-5 of each tensor's largest."
    rows = split(256, 3)
    x, y = torch.as_tensor(rows.x), torch.as_tensor(rows.y)
    logits, grads = first_step(make(model, "released").float(), x, y)
    for r, seed in enumerate(SEEDS):
        alone, (expected,) = first_step(make(model, "released", (seed,)).float(), x, y)
        torch.testing.assert_close(logits[r], alone[0], rtol=0, atol=1e-5)
        for name, want in expected.items():
            if before_norm(name): assert max(want.abs().max(), grads[r][name].abs().max()) < 1e-6
            else:
                torch.testing.assert_close(grads[r][name], want, rtol=0, atol=1e-5 * want.abs().max().item())


def slow_training(model: Model, data: SimpleNamespace, starts: list[int],
                  epochs: int) -> tuple[list[list[dict]], list[list[float]]]:
    """Loops, plain Adam with coupled L2, batches in the rows' order: per replica and epoch, the state and
    the mean training loss. A bias that a batch norm subtracts again stays where it starts."""
    x, y = torch.as_tensor(data.train.x), torch.as_tensor(data.train.y).double()
    states, losses = [], []
    for r in range(model.replicas):
        spec = model.spec
        slow = Reference(spec.model, spec.design, spec.variant, 2, 3, CARDINALITIES, model.replica_state(r),
                         training=True)
        trained = [p for n, p in slow.p.items() if p.requires_grad and not n.endswith(".linear.bias")]
        adam = torch.optim.Adam(trained, 1e-3, weight_decay=1e-6, foreach=False, fused=False)
        states.append([])
        losses.append([])
        for _ in range(epochs):
            total = 0.0
            for a, b in zip(starts, [*starts[1:], len(y)], strict=True):
                adam.zero_grad()
                loss = slow.loss(x[a:b], y[a:b])
                loss.backward()
                adam.step()
                total += loss.item() * (b - a)
            states[-1].append({n: t.detach().clone() for n, t in slow.p.items()})
            losses[-1].append(total / len(y))
    return states, losses


@pytest.mark.parametrize("model", ["DNN", "DCNv2", "NFwFM", "FinalMLP"])
def test_twenty_steps_of_the_loops(model):
    "Two epochs of ten batches, the last of 33 rows: the weights are those of the best epoch."
    # the loops keep running averages, as torch does
    data, recipe = dataset(321), Recipe(batch_size=32, max_epochs=2, batch_norm="running")
    fast = make(model, "paper", SEEDS[:2])
    states, losses = slow_training(fast, data, list(range(0, 320, 32)), epochs=2)
    result = fit(fast, data, recipe, device="cpu", show=False)
    for r, best in enumerate(result.frame.best_epoch):
        got, want = fast.replica_state(r), states[r][best - 1]
        assert got.keys() == want.keys()
        for name, t in got.items():
            torch.testing.assert_close(t, want[name], rtol=0, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
        of_r = result.history[result.history.replica == r]
        assert of_r.train_loss_nats.tolist() == pytest.approx(losses[r], rel=0, abs=1e-9)


@pytest.mark.parametrize("model", BASE_DIM)
def test_no_gradient_crosses_replicas(model):
    "One replica's loss, with dropout, moves that replica and no other."
    rows = split(64, 3)
    x, y = torch.as_tensor(rows.x), torch.as_tensor(rows.y)
    built = make(model, "released", dropout=0.3)
    replica_losses(built, x, y)[1].backward()
    grads = by_replica(built, {n: torch.zeros_like(p) if p.grad is None else p.grad
                               for n, p in built.named_parameters()})
    assert not any(t.any() for r in (0, 2) for t in grads[r].values()) and grads[1]["embedding.weight"].any()
