"A step recorded as a CUDA graph is the ordinary step: what is around the graph anywhere, the graph itself where there is a GPU."
from contextlib import nullcontext
from types import SimpleNamespace
from unittest.mock import Mock, patch

import pytest
import torch
from test_training import SCHEMA, dataset

from collapse_nb.nn.zoo import BASE_DIM, MULTI, ModelSpec, build
from collapse_nb.train import fit as fit_module
from collapse_nb.train.fit import Recipe, fit
from collapse_nb.train.recipe import reduced
from collapse_nb.train.step import EAGER, WARM_UP, Step

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here, and a CUDA graph needs one")
STAND_INS = dict(Stream=Mock(), current_stream=Mock(), stream=lambda s: nullcontext(), # torch.cuda's
                 max_memory_allocated=lambda d: 10, memory_allocated=lambda d: 5)
CELLS = [(m, d) for m in BASE_DIM for d in ("SE", "ME") if d == "SE" or m in MULTI]


class Recited(Step):
    "Recorded on any device, by keeping the function."
    def __init__(self, *args):
        super().__init__(*args)
        self.recorded, self.replays = True, 0

    def warm_up(self, x, y):
        self.take(x, y)
        self.taken += 1
        if self.taken == WARM_UP: self.inputs, self.replay = (x.clone(), y.clone()), self.recite

    def recite(self):
        self.replays += 1
        self.take(*self.inputs)


@pytest.mark.parametrize("model, design", CELLS)
def test_what_is_around_the_graph_changes_no_bit(model, design):
    "Fixed inputs, warm-up, tails and sums: dropout and all, epoch by epoch."
    data, recipe, made = dataset(1000), Recipe(batch_size=96, max_epochs=3), []
    def recited(*args): return made.append(Recited(*args)) or made[0]
    results = []
    for kind in (Step, recited):
        with patch.object(fit_module, "Step", kind):
            results.append(fit(build(ModelSpec(model, design, 2, hidden=20), SCHEMA, 2), data, recipe, "cpu", show=False))
    plain, again = results
    assert torch.equal(plain.test_logits, again.test_logits)
    assert plain.history.drop(columns="train_s").equals(again.history.drop(columns="train_s"))
    full = len(data.train.x) // 96
    assert len(data.train.x) % 96 and made[0].replays == 3 * full - WARM_UP


def test_three_steps_aside_then_a_recording():
    "The order of things on a GPU, with torch.cuda played by stand-ins: Adam is told that it is recorded, for as long as it is."
    step, log = Step(build(ModelSpec("DNN", hidden=8), SCHEMA), Recipe(batch_size=4)), []
    step.recorded, group = True, step.steppers[0].param_groups[0]
    step.take = lambda x, y: log.append(("taken", group["capturable"], x.data_ptr()))
    cuda = STAND_INS | dict(graph=lambda g, stream: nullcontext(), CUDAGraph=lambda: SimpleNamespace(replay=lambda: log.append("replayed")))
    batches = [(torch.full((4, len(SCHEMA.names)), i), torch.ones(4)) for i in range(5)]
    with patch.multiple(torch.cuda, **cuda), patch("collapse_nb.train.step.free_bytes", lambda device: 11):
        for x, y in batches: step(x, y)
    aside, recorded = log[:WARM_UP], log[WARM_UP]
    assert aside == [("taken", False, x.data_ptr()) for x, _ in batches[:WARM_UP]]
    assert recorded == ("taken", True, step.inputs[0].data_ptr()) and not group["capturable"]
    assert log[WARM_UP + 1:] == ["replayed"] * 2 and step.inputs[0].eq(4).all() # the last batch, in the graph's own place


def test_no_room_for_a_graph_is_no_graph():
    step = Step(build(ModelSpec("DNN", hidden=8), SCHEMA), Recipe(batch_size=4))
    step.recorded, step.record = True, Mock()
    step.take = lambda x, y: None
    with patch.multiple(torch.cuda, **STAND_INS), patch("collapse_nb.train.step.free_bytes", lambda device: 10):
        for _ in range(WARM_UP): step(torch.zeros(4, 3), torch.zeros(4))
    assert not step.recorded and not step.record.called


def on_gpu(monkeypatch, eager: bool, spec: ModelSpec, recipe: Recipe, double: bool = True):
    "A training of two replicas on the GPU, with or without graphs."
    if eager: monkeypatch.setenv(EAGER, "1")
    else: monkeypatch.delenv(EAGER, raising=False)
    made, model = [], build(spec, SCHEMA, 2)
    with patch.object(fit_module, "Step", lambda *args: made.append(Step(*args)) or made[0]):
        result = fit(model.double() if double else model, dataset(4000), recipe, "cuda", show=False)
    assert (made[0].replay is None) == eager
    return result


@needs_gpu
@pytest.mark.parametrize("model, design", CELLS)
def test_a_graph_is_the_ordinary_step(monkeypatch, model, design):
    "In float64, with dropout, over two epochs with their tails: every logit to 1e-9."
    spec, recipe = ModelSpec(model, design, 2, hidden=20), Recipe(batch_size=96, max_epochs=2)
    eager, graph = (on_gpu(monkeypatch, e, spec, recipe) for e in (True, False))
    torch.testing.assert_close(graph.test_logits, eager.test_logits, rtol=0, atol=1e-9)
    assert graph.history.train_loss_nats.sub(eager.history.train_loss_nats).abs().max() < 1e-9


@needs_gpu
def test_graphs_in_every_precision(monkeypatch):
    "Recorded under autocast or with TF32, a run is near float32's."
    spec = ModelSpec("DCNv2", "ME", 2, hidden=16)
    aucs = {kind: on_gpu(monkeypatch, False, spec, Recipe(batch_size=96, max_epochs=3, precision=kind), double=False).frame.test_auc
            for kind in ("float32", *reduced(torch.device("cuda")))}
    assert all(aucs["float32"].sub(auc).abs().max() < .02 for auc in aucs.values())


def test_a_graph_too_large_is_given_up():
    "Memory that runs out while recording costs the graph and nothing else."
    step = Step(build(ModelSpec("DNN", hidden=8), SCHEMA), Recipe(batch_size=4))
    step.recorded, step.stream, group = True, None, step.steppers[0].param_groups[0]
    step.take = Mock(side_effect=torch.OutOfMemoryError)
    with patch.multiple(torch.cuda, graph=lambda g, stream: nullcontext(), CUDAGraph=Mock()): step.record(torch.zeros(4, 3), torch.zeros(4))
    assert not step.recorded and step.replay is None and not group["capturable"]
