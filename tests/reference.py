"""The eight models read aloud: loops over sets, fields, pairs, dimensions, heads and layers.

Nothing of the library's layers is used, and what `paper` and `released` mean is written here a second time,
from the papers' equations and from the table in nbs/nn/zoo.ipynb. One `Reference` is one replica: its
parameters by name, as `Model.replica_state` gives them.
"""
import math
from collections.abc import Sequence

import torch
from torch import Tensor


class Reference:
    "One replica of a model, computed slowly."
    def __init__(self,
        model: str,               # DNN, IPNN, ...
        design: str,              # SE or ME
        variant: str,             # paper or released
        sets: int,                # M
        dim: int,                 # K of one set
        cardinalities: Sequence[int], # D_i
        state: dict[str, Tensor], # this replica's parameters and running statistics, copied
        training: bool = False,   # batch statistics instead of running ones
        widths: Sequence[int] | None = None, # columns of x that each field has; None for one each
    ):
        self.model, self.design, self.released, self.sets, self.dim = (model, design, variant == "released",
                                                                       sets, dim)
        self.cardinalities, self.training, self.widths = (cardinalities, training,
                                                          widths or [1] * len(cardinalities))
        self.p = {n: t.detach().clone().contiguous().requires_grad_("running" not in n)
                  for n, t in state.items()}

    def logits(self,
        x: Tensor, # (B, P) field-local ids
    ) -> Tensor:   # (B,)
        per_set = [self.interaction(self.embeddings(x, m), m) for m in range(self.sets)]
        parts = [sum(h[s] for h in per_set) / self.sets for s in range(len(per_set[0]))]  # a part per stream
        score = self.head(parts)
        if self.has_linear(): score = score + self.linear_part(x)
        return score

    def loss(self,
        x: Tensor, # (B, P)
        y: Tensor, # (B,) labels
    ) -> Tensor:   # mean binary cross-entropy, in nats
        z = self.logits(x)
        return (torch.where(z > 0, z, torch.zeros_like(z)) - z * y
                + torch.log1p(torch.exp(-z.abs()))).sum() / len(y)

    # tables

    def blocks(self) -> int:
        "Sub-embeddings that a row of a table holds."
        N = len(self.cardinalities)
        return (N if self.released else N - 1) if self.model == "FFM" else 1

    def table(self, i: int, m: int) -> Tensor: # (D_i, blocks·K)
        first, width = sum(self.cardinalities[:i]), self.blocks() * self.dim
        return self.p["embedding.weight"][first:first + self.cardinalities[i], m * width:(m + 1) * width]

    def embeddings(self, x: Tensor, m: int) -> list[Tensor]: # N of (B, blocks·K)
        "e_i = E_i^T 1_{x_i}, or the mean of that over the values of a row."
        return [self.mean(self.table(i, m), x, i) for i in range(len(self.cardinalities))]

    def mean(self, rows: Tensor, x: Tensor, i: int) -> Tensor: # (D_i, k) -> (B, k)
        "Row by row and value by value, until there is padding, D_i."
        first, means = sum(self.widths[:i]), []
        for b in range(len(x)):
            total, number = 0, 0
            for c in range(first, first + self.widths[i]):
                if x[b, c] == self.cardinalities[i]: break
                total, number = total + rows[x[b, c]], number + 1
            means.append(total / number)
        return torch.stack(means)

    def has_linear(self) -> bool:
        return {"FM": True, "FFM": self.released, "xDeepFM": not self.released}.get(self.model, False)

    def linear_part(self, x: Tensor) -> Tensor: # (B,)
        total = self.p["linear.bias"][0, 0]
        for i, d in enumerate(self.cardinalities):
            first = sum(self.cardinalities[:i])
            total = total + self.mean(self.p["linear.weight"][first:first + d], x, i)[:, 0]
        return total

    # layers

    def linear(self, name: str, g: int, x: Tensor) -> Tensor: # (B, out)
        weight, bias = self.p[f"{name}.weight"][g], self.p[f"{name}.bias"][g]
        return torch.stack([(x * weight[o]).sum(1) + bias[o] for o in range(len(bias))], 1)

    def norm(self, name: str, g: int, x: Tensor) -> Tensor: # (B, H)
        "Biased variance normalises, unbiased variance is remembered, with momentum 0.1."
        mean, var = self.p[f"{name}.running_mean"][g], self.p[f"{name}.running_var"][g]
        if self.training:
            B, old = len(x), (mean.clone(), var.clone())
            batch_mean = x.sum(0) / B
            squares = ((x - batch_mean) ** 2).sum(0)
            mean.copy_(0.9 * old[0] + 0.1 * batch_mean.detach())
            var.copy_(0.9 * old[1] + 0.1 * squares.detach() / (B - 1))
            mean, var = batch_mean, squares / B
        return (x - mean) / torch.sqrt(var + 1e-5) * self.p[f"{name}.weight"][g] + self.p[f"{name}.bias"][g]

    def hidden(self, name: str, g: int, x: Tensor) -> Tensor: # (B, H)
        "Linear, batch norm, ReLU, as many times as there are layers `name`.0, `name`.1, ..."
        depth = sum(n.startswith(f"{name}.") and n.endswith("linear.weight") for n in self.p)
        for k in range(depth):
            x = self.norm(f"{name}.{k}.norm", g, self.linear(f"{name}.{k}.linear", g, x))
            x = torch.where(x > 0, x, torch.zeros_like(x))
        return x

    # interactions: a list with one (B, H) per stream

    def interaction(self, e: list[Tensor], m: int) -> list[Tensor]:
        if self.model == "xDeepFM":
            return [self.compressed(e, m), self.hidden("interaction.dnn", m, torch.cat(e, 1))]
        if self.model == "FinalMLP": return self.two_streams(e, m)
        if self.model == "FM": return [self.fm(e)]
        if self.model == "FFM": return [self.ffm(e)]
        h = {"DNN": self.concatenation, "IPNN": self.products, "NFwFM": self.pooling,
             "DCNv2": self.crosses}[self.model](e, m)
        return [self.hidden("projection", m, h)]

    def concatenation(self, e: list[Tensor], m: int) -> Tensor: return torch.cat(e, 1)

    def products(self, e: list[Tensor], m: int) -> Tensor:
        "[e_1, ..., e_N, <e_i, e_j> for i < j]; released ME keeps the products alone."
        products = [(e[i] * e[j]).sum(1, keepdim=True) for i in range(len(e)) for j in range(i + 1, len(e))]
        return torch.cat(products if self.released and self.design == "ME" else e + products, 1)

    def pooling(self, e: list[Tensor], m: int) -> Tensor:
        "sum r_ij e_i * e_j: over all i, j (released), over i < j (paper)."
        N, r = len(e), iter(self.p["interaction.weight"][m])
        pairs = [(i, j) for i in range(N) for j in range(N) if self.released or i < j]
        assert len(pairs) == len(self.p["interaction.weight"][m])
        return self.norm("interaction.norm", m,
                         sum(w * e[i] * e[j] for (i, j), w in zip(pairs, r, strict=True)))

    def crosses(self, e: list[Tensor], m: int) -> Tensor:
        "x_{l+1, j} = e_j * (sum_i W_{i->j} x_{l, i} + b_j) + x_{l, j}, four times."
        N, K, x = len(e), self.dim, list(e)
        for layer in range(4):
            W, b = (self.p[f"interaction.layers.{layer}.weight"][m],
                    self.p[f"interaction.layers.{layer}.bias"][m])
            block = lambda i, j, W=W: W[j * K:(j + 1) * K, i * K:(i + 1) * K]  # W_{i->j}
            x = [e[j] * (sum(x[i] @ block(i, j).T for i in range(N)) + b[j * K:(j + 1) * K]) + x[j]
                 for j in range(N)]
        assert "interaction.layers.4.weight" not in self.p
        return torch.cat(x, 1)

    def compressed(self, e: list[Tensor], m: int) -> Tensor: # (B, 16 + 16)
        """X'_h = sum_i sum_c W_h,ic e_i * X_c, summed over k; released: the ReLU of that and a beta_h."""
        maps, pooled = list(e), []
        for layer in range(2):
            W, C = self.p[f"interaction.cin.{layer}.weight"][m], len(maps)
            maps = [sum(W[h, i * C + c] * e[i] * maps[c] for i in range(len(e)) for c in range(C))
                    for h in range(16)]
            if self.released:
                beta = self.p[f"interaction.cin.{layer}.bias"][m]
                maps = [b + x for b, x in zip(beta, maps, strict=True)]
                maps = [torch.where(x > 0, x, torch.zeros_like(x)) for x in maps]
            pooled += [sum(x[:, k] for k in range(self.dim)) for x in maps]
        return torch.stack(pooled, 1)

    def gated(self, s: int, m: int, x: Tensor) -> Tensor:
        "2 sigmoid(MLP(c)) * x (paper), x itself (released)."
        if self.released: return x
        name = f"interaction.gates.{s}"
        inner = self.linear(f"{name}.hidden", m, self.p[f"{name}.context"][m])
        opened = self.linear(f"{name}.out", m, torch.where(inner > 0, inner, torch.zeros_like(inner)))
        return 2 / (1 + torch.exp(-opened)) * x

    def two_streams(self, e: list[Tensor], m: int) -> list[Tensor]:
        return [self.hidden(f"interaction.streams.{s}", m, self.gated(s, m, torch.cat(e, 1)))
                for s in range(2)]

    def fm(self, e: list[Tensor]) -> Tensor: # (B, 1)
        return sum((e[i] * e[j]).sum(1, keepdim=True) for i in range(len(e)) for j in range(i))

    def ffm(self, e: list[Tensor]) -> Tensor: # (B, 1)
        """Row i holds its blocks in the order of j, without j = i; a last block, when there is one, is never
        read."""
        def towards(i: int, j: int) -> Tensor: # e_i^{->j}
            place = [t for t in range(len(e)) if t != i].index(j)
            return e[i][:, place * self.dim:(place + 1) * self.dim]
        return sum((towards(i, j) * towards(j, i)).sum(1, keepdim=True) for i in range(len(e))
                   for j in range(i))

    # heads

    def mlp(self, name: str, h: Tensor) -> Tensor:
        return self.linear(f"{name}.output", 0, self.hidden(f"{name}.layers", 0, h))[:, 0]

    def head(self, parts: list[Tensor]) -> Tensor: # (B,)
        if self.model in ("FM", "FFM"): return parts[0][:, 0]
        if self.model == "xDeepFM":
            return self.linear("head.pooled", 0, parts[0])[:, 0] + self.mlp("head.mlp", parts[1])
        if self.model == "FinalMLP": return self.fusion(*parts)
        return self.mlp("head", parts[0])

    def fusion(self, u: Tensor, v: Tensor) -> Tensor: # (B,)
        "w_u u + w_v v + sum_h u_h^T W_h v_h: one head (released), ten (paper)."
        score = self.linear("head.u", 0, u)[:, 0] + self.linear("head.v", 0, v)[:, 0]
        heads = 1 if self.released else 10
        size = u.shape[1] // heads
        for h in range(heads):
            W = self.p["head.weight"][0, h]
            part = slice(h * size, (h + 1) * size)
            score = score + torch.stack([ub @ W @ vb for ub, vb in zip(u[:, part], v[:, part], strict=True)])
        return score


def perturbed(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    "No parameter left at zero or one, and running statistics that a training could have left."
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, t in model.state_dict().items():
            noise = torch.randn(t.shape, generator=generator, dtype=t.dtype)
            t.copy_(torch.exp(0.3 * noise) if "running_var" in name else t + 0.3 * noise)
    assert all(math.isfinite(t.abs().sum()) for t in model.state_dict().values())
    return model
