"Parameters of the models: the released code's counts, and where training starts."
import math
from functools import cache

import pytest
import torch
from scipy import stats
from torch import Tensor

from collapse_nb.fields import FieldSchema
from collapse_nb.nn.zoo import BASE_DIM, ModelSpec, build

SIX = ("DNN", "IPNN", "NFwFM", "xDeepFM", "DCNv2", "FinalMLP")
SCALES = (1, 2, 3, 4, 10)
N, WIDTH = 39, 400
CARDINALITIES = [2 + i % 3 for i in range(N)]
FIELDS = FieldSchema([f"f{i}" for i in range(N)], CARDINALITIES)


def linear(a: int, b: int) -> int: return a * b + b
def norm(a: int) -> int: return 2 * a
def hidden(a: int, b: int = WIDTH) -> int: return linear(a, b) + norm(b)

F_MLP = hidden(WIDTH) + linear(WIDTH, 1) # F: one hidden layer and the output, after the mean over sets
PAIRS = N * (N - 1) // 2

def released_dense(model: str, design: str, K: int, M: int) -> int:
    "The released code's layers: what each of M sets has, then what follows their mean."
    NK = N * K
    match model:
        case "DNN": return M * hidden(NK) + F_MLP
        case "IPNN": return M * hidden(PAIRS + (NK if design == "SE" else 0)) + F_MLP
        case "NFwFM": return M * (N * N + norm(K) + hidden(K)) + F_MLP
        case "DCNv2": return M * (4 * linear(NK, NK) + hidden(NK)) + F_MLP
        case "xDeepFM": return M * (linear(N * N, 16) + linear(N * 16, 16)
                                    + hidden(NK)) + linear(32, 1) + F_MLP
        case "FinalMLP": return M * 2 * (hidden(NK) + hidden(WIDTH)) + WIDTH * WIDTH + 2 * linear(WIDTH, 1)

def counted(*spec: str | int, fields: FieldSchema = FIELDS, replicas: int = 1, **more) -> dict[str, int]:
    "num_parameters() of a model, which must be all its parameters."
    model = build(ModelSpec(*spec, **more), fields, replicas)
    count = model.num_parameters()
    assert count.keys() == {"table", "dense"}
    assert replicas * sum(count.values()) == sum(p.numel() for p in model.parameters())
    return count


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("model", SIX)
@pytest.mark.parametrize("design", ["SE", "ME"])
def test_released_counts(model, design, scale):
    base = 50 if model == "NFwFM" else 10
    K, M = (base * scale, 1) if design == "SE" else (base, scale)
    assert counted(model, design, scale, "released") == {"table": sum(CARDINALITIES) * K * M,
                                                         "dense": released_dense(model, design, K, M)}


@pytest.mark.parametrize("scale", SCALES)
def test_released_ffm_counts(scale):
    "N tables over all rows, of width 8; a first-order weight per row; a bias."
    rows = sum(CARDINALITIES)
    assert counted("FFM", "SE", scale, "released") == {"table": N * rows * 8 * scale + rows, "dense": 1}
    assert counted("FFM", "SE", scale, "paper") == {"table": (N - 1) * rows * 8 * scale, "dense": 0}


@pytest.mark.parametrize("spec, dense", [(("IPNN", "SE", 1), 615_201), (("IPNN", "ME", 1), 459_201),
                                         (("DNN", "SE", 10), 1_722_801)])
def test_counts_that_were_read_in_the_released_code(spec, dense):
    assert released_dense(spec[0], spec[1], 10 * spec[2] if spec[1] == "SE" else 10, 1) == dense
    assert counted(*spec, "released")["dense"] == dense


@pytest.mark.parametrize("model, SE, ME, digits", [("DNN", 1.72, 1.73, 2), ("IPNN", 2.02, 3.14, 2),
                                                   ("NFwFM", 0.37, 0.39, 2),
                                                   ("xDeepFM", 1.76, 2.08, 2), ("DCNv2", 62.6, 7.8, 1),
                                                   ("FinalMLP", 3.6, 6.5, 1)])
def test_formulas_give_the_millions_at_ten_times_the_size(model, SE, ME, digits):
    "The formulas above against figures that were worked out elsewhere."
    base = 50 if model == "NFwFM" else 10
    assert round(released_dense(model, "SE", 10 * base, 1) / 1e6, digits) == SE
    assert round(released_dense(model, "ME", base, 10) / 1e6, digits) == ME


@pytest.mark.parametrize("model", BASE_DIM)
def test_counts_are_those_of_one_replica(model):
    fields, design = FieldSchema("abc", (4, 5, 6)), "SE" if model in ("FFM", "FM") else "ME"
    assert counted(model, design, 2, fields=fields, replicas=3,
                   hidden=20) == counted(model, design, 2, fields=fields, hidden=20)


# where training starts

K, H, SETS, SEEDS = 12, 40, 2, (3, 11)
START = FieldSchema("abcd", (60, 3, 40, 57))
ROWS, n = START.num_rows, START.num_fields

@cache
def started(model: str, variant: str):
    design = "SE" if model in ("FFM", "FM") else "ME"
    return build(ModelSpec(model, design, SETS if design == "ME" else 1, variant, base_dim=K, hidden=H),
                 START, 2, SEEDS)

def bound(name: str, model: str, variant: str) -> float | str:
    """Half width of the uniform law a parameter starts from, by its own set's fan; 'normal' for N(0, 1); 0
    or 1 for a constant."""
    owner, _, kind = name.rpartition(".")
    if name == "embedding.weight": return math.sqrt(6 / (ROWS + K))
    if owner == "linear": return "normal" if kind == "weight" and variant == "released" else 0
    if owner.endswith("norm"): return 1 if kind == "weight" else 0
    if kind == "context": return 0
    if model == "NFwFM" and owner == "interaction": return "normal"
    if model == "FinalMLP" and owner == "head":
        return 0 if variant == "released" else math.sqrt(6 / (1 + 10 * (H // 10)**2))
    if model == "DCNv2" and owner.startswith("interaction"):
        return math.sqrt(6 / (2 * n * K)) if kind == "weight" else 0
    fan = {"interaction.cin.0": n * n, "interaction.cin.1": n * 16, "head.pooled": 32,
           "projection.0.linear": projected(model, variant),
           "interaction.dnn.0.linear": n * K}.get(owner)
    if fan is None and owner.startswith("interaction.gates"): fan = K if owner.endswith("hidden") else 2 * H
    if fan is None and owner.startswith("interaction.streams"): fan = n * K if ".0.linear" in owner else H
    return (fan or H) ** -0.5  # the MLP's layers after the first have H inputs

def projected(model: str, variant: str) -> int:
    "Features that a set's interaction hands to its projection."
    products = n * (n - 1) // 2
    return {"IPNN": products if variant == "released" else n * K + products, "NFwFM": K}.get(model, n * K)

def check(name: str, t: Tensor, law: float | str) -> None:
    """Constants are exact; samples lie within their bound, and pass a Kolmogorov-Smirnov test at one in a
    hundred thousand."""
    sample = t.flatten().double().numpy()
    if law in (0, 1): assert (sample == law).all(), name
    else:
        if law == "normal": expected = stats.norm()
        else:
            assert abs(sample).max() <= law * (1 + 1e-6), name
            expected = stats.uniform(-law, 2 * law)
        assert stats.kstest(sample, expected.cdf).pvalue > 1e-5, name
        if len(sample) > 100: assert len(set(sample)) > 0.9 * len(sample), name


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize("model", BASE_DIM)
def test_start_values(model, variant):
    "Per group: each set of each replica by itself follows the law of its own fan."
    for r in range(2):
        for name, t in started(model, variant).replica_state(r).items():
            law = 1 if name.endswith("running_var") else bound(name, model, variant)
            per_set = (t.chunk(SETS, 1) if name == "embedding.weight" else t.unbind(0)
                       if len(t) == SETS else [t])
            for part in per_set: check(f"{model} {name}", part, law)


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize("model", BASE_DIM)
def test_groups_start_apart(model, variant):
    "No two replicas, and no two sets of a replica, share what was drawn at random."
    built = started(model, variant)
    for name, t in built.replica_state(0).items():
        other = built.replica_state(1)[name]
        if bound(name, model, variant) in (0, 1) or name.endswith("running_var"): continue
        assert not (t == other).any(), name
        if name == "embedding.weight": assert len(torch.unique(t, dim=1).T) == t.shape[1]
        elif len(t) == SETS: assert not (t[0] == t[1]).any(), name


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize("model", BASE_DIM)
def test_a_replica_starts_as_the_lone_model_of_its_seed(model, variant):
    built = started(model, variant)
    for r, seed in enumerate(SEEDS):
        torch.manual_seed(r)  # which must not matter
        lone = build(built.spec, START, 1, [seed]).replica_state(0)
        assert lone.keys() == built.replica_state(r).keys()
        assert all(torch.equal(t, lone[name]) for name, t in built.replica_state(r).items())
    assert not torch.equal(*(built.replica_state(r)["embedding.weight"] for r in (0, 1)))
