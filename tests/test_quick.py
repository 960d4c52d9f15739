"""A training step taken by the quick way is the step as defined: logits, running statistics and gradients,
with the same coins, for one replica and several, for batches of any size."""
import pytest
import torch
from reference import perturbed

from collapse_nb.fields import FieldSchema
from collapse_nb.nn import quick
from collapse_nb.nn.layers import coin_limit, coins_of, dropout
from collapse_nb.nn.zoo import Model, ModelSpec, build
from collapse_nb.train.recipe import Recipe
from collapse_nb.train.step import Step, replica_losses

CARDINALITIES = (5, 40, 1, 600, 12)
SIZES = [("SE", 1), ("SE", 2), ("ME", 3)]
BATCHES = (2, 3, 7, 255, 257)
DEPTHS = (1, 2, 3)

def make(model: str, design: str, scale: int, seeds: tuple[int, ...] = (3, 1), layers: int = 2,
         share: float = .2) -> Model:
    "Nothing at its start value, in training."
    spec = ModelSpec(model, design, scale, base_dim=3, hidden=70, hidden_layers=layers, dropout=share)
    schema = FieldSchema([f"f{i}" for i in range(len(CARDINALITIES))], CARDINALITIES)
    return perturbed(build(spec, schema, len(seeds), seeds)).train()

def batch(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(rows)
    x = torch.stack([torch.randint(d, (rows,), generator=g, dtype=torch.int32) for d in CARDINALITIES], 1)
    return x, torch.randint(2, (rows,), generator=g)

def step(model: Model, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
    "Losses, the statistics left behind, and the gradients of a step whose coins are always the same."
    torch.manual_seed(5)
    for p in model.parameters(): p.grad = None
    losses = replica_losses(model, x, y)
    losses.sum().backward()
    left = {n: b.clone() for n, b in model.named_buffers() if "running" in n}
    return {"losses": losses.detach()} | left | {n: p.grad.to_dense() for n, p in model.named_parameters()
                                                 if p.grad is not None}

def both(model: Model, rows: int, monkeypatch) -> tuple[dict, dict]:
    "The same step by the quick way and as defined."
    x, y = batch(rows)
    start = {n: t.clone() for n, t in model.state_dict().items()}
    monkeypatch.setattr(quick, "FORMATS", {torch.float32, torch.float64})
    assert quick.takes(model, x)
    fast = step(model, x, y)
    model.load_state_dict(start)
    monkeypatch.setattr(quick, "FORMATS", set())
    assert not quick.takes(model, x)
    return fast, step(model, x, y)

def distances(fast: dict, slow: dict) -> dict[str, float]: # as shares of each tensor's largest entry
    assert fast.keys() == slow.keys()
    return {n: ((fast[n] - slow[n]).abs().max() / slow[n].abs().max().clamp(min=1e-3)).item() for n in slow}


@pytest.mark.parametrize("share", [0, .2])
@pytest.mark.parametrize("name", quick.QUICK)
@pytest.mark.parametrize("design, scale", SIZES)
def test_the_step_is_the_defined_one(name, design, scale, share, monkeypatch):
    "In float64, with the same coins and batches of any size."
    model = make(name, design, scale, share=share).double()
    for rows in BATCHES:
        far = distances(*both(model, rows, monkeypatch))
        # two or three rows that are normalised by themselves leave little but rounding
        assert max(far.values()) < (1e-11 if rows > 3 else 1e-8), (rows, far)


@pytest.mark.parametrize("layers", DEPTHS)
@pytest.mark.parametrize("name", quick.QUICK)
def test_any_number_of_hidden_layers(name, layers, monkeypatch):
    for seeds in (0,), (2, 0, 5):
        far = distances(*both(make(name, "ME", 2, seeds, layers).double(), 64, monkeypatch))
        assert max(far.values()) < 1e-11, far


@pytest.mark.parametrize("name", quick.QUICK)
def test_float32_to_rounding(name, monkeypatch):
    """Where no pre-activation is so near to zero that rounding decides its sign: the rows and seeds are such
    that there is none."""
    far = distances(*both(make(name, "ME", 2), 300, monkeypatch))
    assert max(far.values()) < 1e-5, far


@pytest.mark.parametrize("name", quick.QUICK)
def test_a_seed_is_the_same_run_alone_or_in_a_group(name):
    "One step with dropout in float32: losses and gradients of three replicas are those of three lone models."
    seeds, (x, y) = (4, 0, 7), batch(300)
    trio = make(name, "ME", 2, seeds)
    lone = [build(trio.spec, trio.schema, 1, (seed,)).train() for seed in seeds]
    for r, one in enumerate(lone): one.load_state_dict(trio.replica_state(r))
    together = step(trio, x, y)
    for p in trio.parameters(): p.data.copy_(torch.zeros(()) if p.grad is None else p.grad.to_dense())
    for r, one in enumerate(lone):
        alone, ours = step(one, x, y), trio.replica_state(r)
        torch.testing.assert_close(together["losses"][r], alone["losses"][0], rtol=1e-5, atol=0)
        for n in alone.keys() & ours.keys():
            if "running" in n: continue
            torch.testing.assert_close(ours[n], alone[n], rtol=0, atol=1e-5 * alone[n].abs().max().item())


def test_coins_do_not_depend_on_who_trains_beside():
    "To the bit: layer by layer and step by step, the keys and the masks of a seed are its own."
    def masks(seeds: tuple[int, ...]) -> torch.Tensor: # (steps, G, B, H)
        torch.manual_seed(0)
        with coins_of(seeds): return torch.stack([dropout(torch.ones(2 * len(seeds), 50, 30), .3, True)
                                                  for _ in range(3)])
    three = masks((4, 0, 7))
    for r, seed in enumerate((4, 0, 7)): assert torch.equal(three[:, 2 * r:2 * r + 2], masks((seed,)))
    flat = three.flatten(2).flatten(0, 1)
    assert len(flat.unique(dim=0)) == len(flat) # of steps, replicas and sets no two have the same


def test_coins_are_even_and_independent():
    "Rate and neighbours in rows, columns, seeds, sets and steps, to four standard deviations."
    torch.manual_seed(1)
    share, zscores = .2, []
    with coins_of((0, 1)):
        drawn = torch.stack([dropout(torch.ones(4, 700, 300), share, True)
                             for _ in range(2)]) # (step, G, B, H)
    dropped, kept = coin_limit(share)
    assert set(drawn.unique().tolist()) == {0, torch.tensor(kept).item()} and dropped == round(.2 * 2**32)
    keep = ((drawn > 0).double() - (1 - share)) / (share * (1 - share)) ** .5
    pairs = [(keep, torch.ones(())), (keep[:, :, 1:], keep[:, :, :-1]), (keep[..., 1:], keep[..., :-1]),
             (keep[:, :2], keep[:, 2:]), (keep[:, ::2], keep[:, 1::2]), (keep[0], keep[1])]
    for a, b in pairs: zscores.append(((a * b).mean() * a.numel() ** .5).abs().item())
    assert max(zscores) < 4, zscores
    for dim in 2, 3: # no row and no column is kept more often than chance has it
        spread = keep.mean(dim).var() * keep.shape[dim]
        assert abs(spread - 1) < .15


def test_what_was_changed_takes_the_definition():
    "A hook, a treatment in a layer's place, another format, evaluation, a lone row."
    x = batch(20)[0]
    model = make("DNN", "SE", 1)
    assert quick.takes(model, x) and not quick.takes(model, x[:1]) and not quick.takes(model.eval(), x)
    assert not quick.takes(model.train().double(), x) and quick.takes(model.float(), x)
    with torch.autocast("cpu", torch.bfloat16): assert not quick.takes(model, x)
    handle, seen = model.projection.register_forward_hook(lambda *_: seen.append(1)), []
    model(x)
    handle.remove()
    assert seen and quick.takes(model, x)
    class Other(type(model.projection)): pass
    model.projection = Other(*model.projection)
    assert not quick.takes(model, x)


@pytest.mark.parametrize("name", ["DNN", "NFwFM"])
def test_a_bias_that_a_batch_norm_subtracts_stays(name):
    "It has no gradient, neither way, and neither noise nor decay moves it."
    for formats in {torch.float32}, set():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(quick, "FORMATS", formats)
            model = make(name, "ME", 2)
            before = {n: p.detach().clone() for n, p in model.named_parameters()}
            one = Step(model, Recipe())
            one(*batch(64))
            still = {n for n, p in model.named_parameters() if torch.equal(p, before[n])}
            assert still == {n for n in before if n.endswith("linear.bias")}


def test_steps_repeat_bit_for_bit():
    "Two trainings of one seed, at one number of threads, have the same weights."
    ends = []
    for _ in range(2):
        torch.manual_seed(0)
        one = Step(make("DNN", "ME", 2), Recipe())
        for rows in 300, 300, 77: one(*batch(rows))
        ends.append([p.detach().clone() for p in one.model.parameters()])
    assert all(map(torch.equal, *ends))
