"""A step recorded as a CUDA graph trains as the ordinary step does: around the graph anywhere, itself on a
GPU."""
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from test_training import SCHEMA, dataset
from torch import Tensor
from tqdm import tqdm

from collapse_nb.nn.zoo import BASE_DIM, MULTI, ModelSpec, build
from collapse_nb.train.fit import Recipe, fit, predict, train_epoch
from collapse_nb.train.recipe import BY_ROWS, reduced
from collapse_nb.train.rows import Rows, batches
from collapse_nb.train.step import EAGER, WARM_UP, CudaGraph, Step, recorder

CPU, GPU = torch.device("cpu"), torch.device("cuda")
CELLS = [(m, d) for m in BASE_DIM for d in ("SE", "ME") if d == "SE" or m in MULTI]
SIZE, EPOCHS = 96, 3
DATA = dataset(1000)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(),
                               reason="a CUDA graph needs a GPU, and none is here")


def new_step(spec: ModelSpec, record, device: torch.device = CPU, double: bool = False) -> Step:
    torch.manual_seed(0) # of dropout
    model = build(spec, SCHEMA, 2).to(device)
    return Step(model.double() if double else model, Recipe(batch_size=SIZE), record=record)

def train(step: Step, epochs: int = EPOCHS) -> tuple[Step, list[Tensor]]:
    "Epochs of full batches and a shorter one; the step, and the mean losses of each epoch."
    rows = Rows(DATA, "train", SCHEMA, step.device)
    return step, [train_epoch(step, rows, tqdm(disable=True))[0] for _ in range(epochs)]

def optimiser_steps(step: Step) -> set[int]:
    return {int(state["step"]) for state in step.steppers[0].state.values()}

def assert_equal_bits(a: tuple[Step, list[Tensor]], b: tuple[Step, list[Tensor]]) -> None:
    "Weights, running statistics, losses, the optimiser's averages and its number of steps."
    (one, losses), (two, others) = a, b
    for (name, t), (_, u) in zip(one.model.state_dict().items(), two.model.state_dict().items(), strict=True):
        assert torch.equal(t, u), name
    assert all(torch.equal(t, u) for t, u in zip(losses, others, strict=True))
    states = [[t for state in s.steppers[0].state.values() for t in state.values()] for s in (one, two)]
    assert all(torch.equal(t, u) for t, u in zip(*states, strict=True))
    assert optimiser_steps(one) == optimiser_steps(two) == {EPOCHS * len(batches(1000, SIZE))}


@contextmanager
def played_gpu(step: Step, recording: Exception | None = None, passing: int = 0) -> Iterator[SimpleNamespace]:
    "torch.cuda as far as `CudaGraph` asks for it, played by the CPU: what recording computes is taken back."
    seen = SimpleNamespace(capturable=[], replays=0)

    @contextmanager
    def record(graph, stream) -> Iterator[None]:
        seen.capturable += [group["capturable"] for stepper in step.steppers
                            for group in stepper.param_groups]
        if recording: raise recording
        averages = [t for stepper in step.steppers for state in stepper.state.values()
                    for t in state.values()]
        tensors = [*step.model.state_dict().values(), *vars(step.tally).values(), *averages]
        before, random = [t.clone() for t in tensors], torch.get_rng_state()
        yield
        for t, earlier in zip(tensors, before, strict=True): t.data.copy_(earlier)
        torch.set_rng_state(random)

    def replay() -> None:
        seen.replays += 1
        step.take(*step.inputs)

    stream = SimpleNamespace(wait_stream=lambda other: None)
    driver = dict(Stream=lambda device: stream, current_stream=lambda device: stream,
                  stream=lambda s: nullcontext(), graph=record,
                  CUDAGraph=lambda: SimpleNamespace(replay=replay),
                  max_memory_allocated=lambda device: passing,
                  memory_allocated=lambda device: 0)
    with patch.multiple(torch.cuda, **driver): yield seen


played = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real GPU")

@played
@pytest.mark.parametrize("model, design", CELLS)
def test_recording_costs_no_step_and_changes_no_bit(model, design):
    "Fixed inputs, warm-up, tails and sums: dropout and all, epoch by epoch, on a GPU played by the CPU."
    assert 1000 % SIZE, "the last batch must be a shorter one"
    spec = ModelSpec(model, design, 2, hidden=20)
    step = new_step(spec, CudaGraph(CPU))
    with played_gpu(step) as seen: recorded = train(step)
    assert_equal_bits(train(new_step(spec, None)), recorded)
    assert seen.replays == EPOCHS * (1000 // SIZE) - WARM_UP


@played
@pytest.mark.parametrize("recording, passing", [(None, 1 << 60), (torch.OutOfMemoryError(), 0), (None, 0)],
                         ids=["too small from the start", "it runs out while recording", "it is enough"])
def test_memory_costs_the_graph_and_nothing_else(recording, passing):
    spec = ModelSpec("DCNv2", "ME", 2, hidden=20)
    step = new_step(spec, CudaGraph(CPU))
    with played_gpu(step, recording, passing) as seen: recorded = train(step)
    assert_equal_bits(train(new_step(spec, None)), recorded)
    assert bool(seen.replays) == (recording is None and not passing)
    # Adam refuses to be recorded without it
    assert all(seen.capturable) and bool(seen.capturable) == (passing == 0)
    assert not any(group["capturable"] for group in step.steppers[0].param_groups) # and warns when it is left


@played
def test_a_step_that_cannot_be_recorded_says_what_to_do():
    step = new_step(ModelSpec("DNN", hidden=8), CudaGraph(CPU))
    expected = pytest.raises(RuntimeError, match=f"not permitted.*{EAGER}=1")
    with played_gpu(step, RuntimeError("operation not permitted")), expected: train(step, 1)


def test_what_is_recorded(monkeypatch):
    """Full batches on a GPU, unless gradients vary in length, a user's function is called, or EAGER forbids
    it."""
    monkeypatch.delenv(EAGER, raising=False)
    assert isinstance(recorder(GPU, Recipe(), None), CudaGraph)
    assert recorder(CPU, Recipe(), None) is None
    assert all(recorder(GPU, Recipe(optimizer=o), None) is None for o in BY_ROWS)
    assert recorder(GPU, Recipe(), lambda model: torch.zeros(1)) is None
    monkeypatch.setenv(EAGER, "1")
    assert recorder(GPU, Recipe(), None) is None


@needs_gpu
@pytest.mark.parametrize("model, design", CELLS)
def test_a_graph_is_the_ordinary_step(monkeypatch, model, design):
    "In float64, with dropout, over epochs with their tails: every logit and every loss to 1e-9."
    monkeypatch.delenv(EAGER, raising=False)
    spec, logits, losses = ModelSpec(model, design, 2, hidden=20), [], []
    for record in (None, "auto"):
        step, sums = train(new_step(spec, record, GPU, double=True))
        assert (step.replay is None) == (record is None)
        logits.append(predict(step.model, Rows(DATA, "test", SCHEMA, GPU)))
        losses.append(torch.stack(sums))
    torch.testing.assert_close(logits[1], logits[0], rtol=0, atol=1e-9)
    torch.testing.assert_close(losses[1], losses[0], rtol=0, atol=1e-9)


@needs_gpu
def test_graphs_in_every_precision(monkeypatch):
    "Recorded under autocast or with TF32, a run is near float32's."
    monkeypatch.delenv(EAGER, raising=False)
    model = lambda: build(ModelSpec("DCNv2", "ME", 2, hidden=16), SCHEMA, 2)
    recipe = lambda precision: Recipe(batch_size=SIZE, max_epochs=3, precision=precision)
    aucs = {kind: fit(model(), dataset(4000), recipe(kind), "cuda", show=False).frame.test_auc
            for kind in ("float32", *reduced(GPU))}
    assert all(aucs["float32"].sub(auc).abs().max() < .02 for auc in aucs.values())
