"""Weights of DNN and DCNv2 written with torch's own modules, one per embedding set as in the released code,
copied in by name."""
import pytest
import torch
from torch import Tensor, nn

from collapse_nb.fields import FieldSchema
from collapse_nb.nn.zoo import ModelSpec, build

CARDINALITIES, DIM, HIDDEN = (50, 7, 120, 3, 31), 10, 64
SCHEMA = FieldSchema("abcde", CARDINALITIES)


class Cross(nn.Module):
    "x0 * (W x + b) + x, layer after layer."
    def __init__(self, width: int, layers: int = 4):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))

    def forward(self, x0: Tensor) -> Tensor:
        x = x0
        for layer in self.layers: x = x0 * layer(x) + x
        return x


def hidden(a: int, b: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU(), nn.Dropout(0.2))


class Plain(nn.Module):
    """The usual way: an nn.Embedding over all fields, an interaction and a projection per set; their mean;
    the rest of the MLP."""
    def __init__(self, model: str, sets: int, dim: int):
        super().__init__()
        width = len(CARDINALITIES) * dim
        self.offsets = torch.tensor(SCHEMA.offsets)
        self.embeddings = nn.ModuleList(nn.Embedding(sum(CARDINALITIES), dim) for _ in range(sets))
        self.crosses = nn.ModuleList(Cross(width) if model == "DCNv2" else nn.Identity() for _ in range(sets))
        self.projections = nn.ModuleList(hidden(width, HIDDEN) for _ in range(sets))
        self.mlp, self.output = hidden(HIDDEN, HIDDEN), nn.Linear(HIDDEN, 1)

    def forward(self, x: Tensor) -> Tensor: # (B, N) -> (B,)
        sets = zip(self.embeddings, self.crosses, self.projections, strict=True)
        h = torch.stack([project(cross(table(x + self.offsets).flatten(1)))
                         for table, cross, project in sets]).mean(0)
        return self.output(self.mlp(h)).squeeze(1)


def by_name(plain: Plain) -> dict[str, Tensor]:
    """The plain model's weights under the library's names: sets side by side in a table's columns, stacked
    in front elsewhere."""
    def layer(ours: str, theirs: list[nn.Sequential]) -> dict[str, Tensor]:
        parts = {"linear": [t[0] for t in theirs], "norm": [t[1] for t in theirs]}
        kinds = [("linear", "weight"), ("linear", "bias"),
                 *(("norm", k) for k in ("weight", "bias", "running_mean", "running_var"))]
        return {f"{ours}.{part}.{kind}": torch.stack([getattr(t, kind) for t in parts[part]])
                for part, kind in kinds}
    state = {"embedding.weight": torch.cat([e.weight for e in plain.embeddings], 1)}
    state |= layer("projection.0", list(plain.projections)) | layer("head.layers.0", [plain.mlp])
    state |= {"head.output.weight": plain.output.weight[None], "head.output.bias": plain.output.bias[None]}
    if isinstance(plain.crosses[0], Cross):
        for k in range(4):
            for kind in ("weight", "bias"):
                state[f"interaction.layers.{k}.{kind}"] = torch.stack([getattr(c.layers[k], kind)
                                                                       for c in plain.crosses])
    return {name: t.detach() for name, t in state.items()}


def used(model: str, sets: int, dim: int, seed: int) -> Plain:
    "A plain model after a few steps of its own, so that nothing stands where it started."
    torch.manual_seed(seed)
    plain = Plain(model, sets, dim)
    adam = torch.optim.Adam(plain.parameters(), 1e-3)
    for _ in range(20):
        adam.zero_grad()
        x, y = rows(256)
        nn.functional.binary_cross_entropy_with_logits(plain(x), y).backward()
        adam.step()
    return plain

def rows(n: int) -> tuple[Tensor, Tensor]:
    x = torch.stack([torch.randint(d, (n,)) for d in CARDINALITIES], 1)
    return x, ((x[:, 0] + x[:, 1]) % 3 == 0).float()


@pytest.mark.parametrize("model", ["DNN", "DCNv2"])
@pytest.mark.parametrize("design, scale", [("SE", 1), ("SE", 2), ("ME", 3)])
def test_copied_weights_give_the_same_logits(model, design, scale):
    "Two replicas take the weights of two trained modules; logits to 1e-6 in float32, dropout off."
    sets, dim = (scale, DIM) if design == "ME" else (1, DIM * scale)
    plains = [used(model, sets, dim, seed) for seed in (0, 1)]
    ours = build(ModelSpec(model, design, scale, "released", hidden=HIDDEN), SCHEMA, 2).eval()
    for r, plain in enumerate(plains):
        weights, state = by_name(plain.eval()), ours.replica_state(r)
        assert {n: t.shape for n, t in weights.items()} == {n: t.shape for n, t in state.items()}
        for name, t in state.items(): t.copy_(weights[name])
    x, _ = rows(500)
    with torch.no_grad(): logits, expected = ours(x), torch.stack([plain(x) for plain in plains])
    assert expected.std() > 0.05
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6)
    tables = ours.tables()
    assert torch.equal(tables[1, sets - 1, 2], plains[1].embeddings[sets - 1].weight[57:177])
