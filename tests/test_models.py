"""Every model equals loops over replicas, sets and fields (tests/reference.py): logits, running statistics,
gradients."""
from collections.abc import Sequence

import pytest
import torch
from reference import Reference, perturbed
from torch import Tensor

from collapse_nb.fields import FieldSchema
from collapse_nb.nn.layers import dropout
from collapse_nb.nn.zoo import BASE_DIM, Model, ModelSpec, build
from collapse_nb.train.step import replica_losses

SIX = ("DNN", "IPNN", "NFwFM", "xDeepFM", "DCNv2", "FinalMLP")
SIZES = [(m, d, s) for m in SIX for d, s in (("SE", 1), ("SE", 2), ("ME", 1), ("ME", 2), ("ME", 3))]
SIZES += [(m, "SE", s) for m in ("FFM", "FM") for s in (1, 2)]
CASES = [(*size, v) for size in SIZES for v in ("paper", "released")]
REPLICAS, DIM, HIDDEN = 2, 3, 20
CARDINALITIES = (5, 1, 7, 3)
EXACT = dict(rtol=0, atol=1e-10)


def schema_of(cardinalities: Sequence[int], widths: Sequence[int] = ()) -> FieldSchema:
    return FieldSchema([f"f{i}" for i in range(len(cardinalities))], cardinalities, widths)

def make(model: str, design: str, scale: int, variant: str, cardinalities: Sequence[int] = CARDINALITIES,
         widths: Sequence[int] = (),
         **more) -> Model:
    "Two replicas in float64 with nothing at its start value."
    spec = ModelSpec(model, design, scale, variant, **{"base_dim": DIM, "hidden": HIDDEN, "dropout": 0.0}
                     | more)
    return perturbed(build(spec, schema_of(cardinalities, widths), REPLICAS).double())

def references(model: Model, training: bool = False) -> list[Reference]:
    "The same replicas as loops."
    spec = model.spec
    sets, dim = (spec.scale, DIM) if spec.design == "ME" else (1, DIM * spec.scale)
    return [Reference(spec.model, spec.design, spec.variant, sets, dim, model.schema.cardinalities,
                      model.replica_state(r), training,
                      model.schema.widths) for r in range(REPLICAS)]

def rows(cardinalities: Sequence[int] = CARDINALITIES, n: int = 9) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x = torch.stack([torch.randint(d, (n,), generator=generator) for d in cardinalities], 1)
    return x, torch.randint(2, (n,), generator=generator).double()

def gradients(model: Model) -> list[dict[str, Tensor]]:
    "Each replica's gradients by name; the model's parameters are overwritten by them."
    with torch.no_grad():
        for p in model.parameters(): p.copy_(p.grad if p.grad is not None else torch.zeros_like(p))
    return [{n: t for n, t in model.replica_state(r).items() if "running" not in n}
            for r in range(model.replicas)]


def evaluation_equals_loops(model: Model, x: Tensor) -> None:
    before = {n: t.clone() for n, t in model.state_dict().items()}
    with torch.no_grad(): logits, slow = model(x), torch.stack([r.logits(x) for r in references(model)])
    assert logits.shape == (REPLICAS, len(x)) and logits.std() > 1e-3
    torch.testing.assert_close(logits, slow, **EXACT)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def training_equals_loops(model: Model, x: Tensor, y: Tensor) -> None:
    """Batch statistics, what they leave behind, and gradients: the sum over replicas leaves each replica its
    own."""
    slow = references(model, training=True)
    losses, expected = replica_losses(model, x, y), [r.loss(x, y) for r in slow]
    torch.testing.assert_close(losses.detach(), torch.stack(expected).detach(), **EXACT)
    for r in range(REPLICAS):
        for name, t in model.replica_state(r).items():
            if "running" in name: torch.testing.assert_close(t, slow[r].p[name], **EXACT)
    losses.sum().backward()
    for loss in expected: loss.backward()
    for got, r in zip(gradients(model), slow, strict=True):
        assert got.keys() == {n for n in r.p if "running" not in n}
        for name, grad in got.items():
            want = r.p[name].grad
            torch.testing.assert_close(grad, torch.zeros_like(grad) if want is None else want, **EXACT,
                                       msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(map(str, c)))
def test_evaluation_equals_loops(case): evaluation_equals_loops(make(*case).eval(), rows()[0])


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(map(str, c)))
def test_training_equals_loops(case): training_equals_loops(make(*case).train(), *rows())


@pytest.mark.parametrize("model, layers, cardinalities", [
    ("DNN", 1, (4, 5)), ("DNN", 3, (4,)), ("DCNv2", 3, (6,)), ("FinalMLP", 1, (4,)), ("FinalMLP", 3, (4, 5)),
    ("xDeepFM", 1, (4, 5)), ("xDeepFM", 3, (4, 5)), ("IPNN", 3, (4, 5)), ("NFwFM", 1, (4, 5)),
    ("FFM", 2, (4, 5)), ("FM", 2, (4, 5))])
@pytest.mark.parametrize("variant", ["paper", "released"])
def test_other_depths_and_few_fields(model, layers, cardinalities, variant):
    design = "SE" if model in ("FFM", "FM") else "ME"
    model, (x, _) = make(model, design, 2, variant, cardinalities,
                         hidden_layers=layers).eval(), rows(cardinalities)
    with torch.no_grad():
        torch.testing.assert_close(model(x), torch.stack([r.logits(x) for r in references(model)]), **EXACT)


@pytest.mark.parametrize("name", BASE_DIM)
def test_tables_are_those_of_the_loops(name):
    "tables() gives views; FFM's leave out what nothing reads."
    design, scale = ("SE", 1) if name in ("FFM", "FM") else ("ME", 3)
    for variant in ("paper", "released"):
        model = make(name, design, scale, variant)
        tables, slow = model.tables(), references(model)
        assert set(tables) == {(r, m, i) for r in range(REPLICAS) for m in range(scale)
                               for i in range(len(CARDINALITIES))}
        for (r, m, i), table in tables.items():
            width = (len(CARDINALITIES) - 1 if name == "FFM" else 1) * DIM
            assert torch.equal(table, slow[r].table(i, m)[:, :width])
            assert table.untyped_storage().data_ptr() == model.embedding.weight.untyped_storage().data_ptr()


@pytest.mark.parametrize("name", [m for m in SIX if m != "IPNN"])
def test_one_set_is_single_embedding(name):
    x, _ = rows()
    for variant in ("paper", "released"):
        with torch.no_grad():
            single, multi = (make(name, design, 1, variant).eval()(x) for design in ("SE", "ME"))
        assert torch.equal(single, multi)


def test_released_ffm_never_reads_its_last_block():
    model, (x, _) = make("FFM", "SE", 1, "released").eval(), rows()
    before = model(x)
    with torch.no_grad(): model.embedding.weight.unflatten(1, (REPLICAS, -1))[..., 3 * DIM:].fill_(1e6)
    assert torch.equal(model(x), before)


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_dropout_drops_a_share_and_keeps_the_mean(share):
    "Counts within five standard deviations; replicas draw coins of their own."
    torch.manual_seed(0)
    x = torch.full((2, 500, 101), 3.0, requires_grad=True)
    y = dropout(x, share, True, relu=True)
    kept, n = y != 0, x.numel()
    assert abs(kept.sum().item() - n * (1 - share)) < 5 * (n * share * (1 - share)) ** 0.5
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 3 / (1 - share)), rtol=2e-5, atol=0)
    agree = (kept[0] == kept[1]).double().mean().item()
    assert abs(agree - share**2 - (1 - share) ** 2) < 5 * 0.5 / (n / 2) ** 0.5
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach() / 3)
    assert torch.equal(dropout(-x, share, True, relu=True), torch.zeros_like(x))
    assert torch.equal(dropout(x, share, False, relu=True), x)


@pytest.mark.parametrize("name", SIX)
def test_dropout_acts_on_every_hidden_layer_and_on_nfwfms_pooling(name):
    """What leaves batch norm positive is dropped with the share given, and what stays is scaled up;
    elsewhere nothing is dropped."""
    model, (x, _), share = make(name, "ME", 2, "released", dropout=0.4,
                                hidden_layers=3).train(), rows(n=300), 0.4
    seen = {}
    for key, module in model.named_modules():
        module.register_forward_hook(lambda _m, _i, out, key=key: seen.__setitem__(key, out.detach()))
    torch.manual_seed(1)
    model(x)
    layers = [key.removesuffix(".norm") for key in seen if key.endswith(".norm")]
    assert len(layers) == {"NFwFM": 4, "FinalMLP": 6}.get(name, 3)
    for key in layers:
        normed, out = seen[f"{key}.norm"], seen[key]
        if key != "interaction": normed = normed.clamp(min=0)
        live = normed != 0
        kept = out[live] != 0
        assert abs(kept.sum().item() - len(kept) * (1 - share)) < 5 * (len(kept) * share * (1 - share)) ** 0.5
        torch.testing.assert_close(out[live][kept], normed[live][kept] / (1 - share), rtol=2e-5, atol=0)
        assert not out[~live].any()
