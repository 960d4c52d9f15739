"""A row's logits are the same bits whatever rows are beside it, in whatever order and however many (float32
on a CPU)."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import perturbed
from torch.utils.data import TensorDataset

from collapse_nb.fields import FieldSchema
from collapse_nb.nn.zoo import BASE_DIM, MULTI, ModelSpec, build
from collapse_nb.train.fit import EVEN, predict

SCHEMA = FieldSchema([f"f{i}" for i in range(13)], [3 + 37 * i for i in range(13)])
CELLS = [(m, d, v) for m in BASE_DIM for d in ("SE", "ME") if d == "SE" or m in MULTI
         for v in ("paper", "released")]
ROWS = 2 * 2048 + 1 # a full batch's worth more than one, so that a single row is left over


def ids(rows: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.stack([torch.randint(d, (rows,), generator=generator) for d in SCHEMA.cardinalities], 1)


@pytest.mark.parametrize("cell", CELLS, ids="-".join)
def test_neighbours_change_no_bit(cell):
    model, x = perturbed(build(ModelSpec(*cell[:2], 2, cell[2]), SCHEMA)), ids(ROWS)
    logits = predict(model, TensorDataset(x, x))
    assert logits.std() > 1e-3

    @settings(max_examples=12, deadline=None, derandomize=True)
    @given(st.integers(1, 40) | st.integers(1, ROWS), st.integers(0, 2**31))
    def check(size, seed):
        some = torch.randperm(ROWS, generator=torch.Generator().manual_seed(seed))[:size]
        assert torch.equal(predict(model, TensorDataset(x[some], x[some])), logits[:, some])
    check()


def test_replicas_and_batch_size_change_no_bit():
    "Three replicas are each alone; batches of any size are filled up."
    model, x = perturbed(build(ModelSpec("DCNv2", "ME", 2), SCHEMA, 3)), ids(ROWS)
    logits = predict(model, TensorDataset(x, x))
    for size in (1 + EVEN, 1000): assert torch.equal(predict(model, TensorDataset(x, x), size), logits)
    for n in (1, 2, 7, EVEN, EVEN + 1):
        assert torch.equal(predict(model, TensorDataset(x[-n:], x[-n:])), logits[:, -n:])
