"""A training that was ended after any epoch, and gone on with, is the undisturbed one to the last bit."""
import io
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch
from import_graph import module_graph
from test_sweep_kill import DATA, ROOT, same

from collapse_nb.controls import treatment
from collapse_nb.nn.zoo import MULTI, ModelSpec
from collapse_nb.records import InputError
from collapse_nb.train import epochs
from collapse_nb.train import sweep as sweep_module
from collapse_nb.train.epochs import FILE, LOOP, EpochCheckpoint, training_code
from collapse_nb.train.fit import FitResult
from collapse_nb.train.recipe import Recipe
from collapse_nb.train.runs import Group, RunStore
from collapse_nb.train.sweep import missing, run_group, sweep

TIMES = ["fit_s", "rows_per_s", "peak_bytes"]
OPTIMIZERS = ("Adam", "AdamW", "SparseAdam", "Adagrad", "RowWiseAdagrad")


def group(model: str = "DCNv2", design: str = "ME", scale: int = 2, seeds: tuple = (0, 1), treated: str = "",
          variant: str = "paper", **recipe) -> Group:
    "A small group on the made-up rows."
    how = {"batch_size": 256, "learning_rate": 1e-2, "patience": 2, "max_epochs": 5} | recipe
    return Group(dataset=DATA.name, fingerprint=DATA.fingerprint, treatment=treated, seeds=seeds,
                 spec=ModelSpec(model, design, scale, variant, base_dim=4, hidden=20), recipe=Recipe(**how))


def train(wanted: Group, folder: Path | None = None, treat=None) -> FitResult:
    return run_group(wanted, DATA, "cpu", False, treat, folder, 0)[0]


def ended_after(number: int):
    "Within, a training comes to its end when it has filed so many epochs."
    keep = EpochCheckpoint.keep
    def keep_and_end(self, step, progress, done):
        keep(self, step, progress, done)
        if len(done) == number: raise KeyboardInterrupt
    return patch.object(EpochCheckpoint, "keep", keep_and_end)


def alike(a: FitResult, b: FitResult) -> None:
    "Every number that is no timing, and every bit of the models."
    pd.testing.assert_frame_equal(a.frame.drop(columns=TIMES), b.frame.drop(columns=TIMES), check_exact=True)
    pd.testing.assert_frame_equal(a.history.drop(columns="train_s"), b.history.drop(columns="train_s"),
                                  check_exact=True)
    np.testing.assert_array_equal(a.abundance, b.abundance)
    torch.testing.assert_close(a.test_logits, b.test_logits, rtol=0, atol=0, equal_nan=True)
    for (name, ours), theirs in zip(a.model.state_dict().items(), b.model.state_dict().values(), strict=True):
        assert torch.equal(ours.nan_to_num(), theirs.nan_to_num()), name


def resumed(wanted: Group, folder: Path, ends: tuple[int, ...], treat=None) -> FitResult:
    "What comes out of a training that was ended after each of these epochs."
    for number in ends:
        with ended_after(number), pytest.raises(KeyboardInterrupt): train(wanted, folder, treat)
    return train(wanted, folder, treat)


@pytest.mark.parametrize("batch_norm", ["recomputed", "running"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimiser_goes_on(tmp_path, optimizer, batch_norm):
    wanted = group(optimizer=optimizer, batch_norm=batch_norm)
    alike(train(wanted), resumed(wanted, tmp_path / "ended", (1, 2, 4)))


ENDS = cycle([1, 2, 3])

@pytest.mark.parametrize("model, design, variant, end", [
    *((model, "ME", "paper", next(ENDS)) for model in MULTI),
    *((model, "SE", "released", next(ENDS)) for model in (*MULTI, "FFM", "FM"))])
def test_every_model_goes_on(tmp_path, model, design, variant, end):
    wanted = group(model, design, variant=variant, max_epochs=4)
    alike(train(wanted), resumed(wanted, tmp_path / "ended", (end,)))


def test_replicas_that_stopped_at_different_epochs(tmp_path):
    "Ended when some replicas have stopped, some not; the weights of an earlier epoch are the best of one."
    wanted = group("DNN", "SE", 1, seeds=tuple(range(5)), max_epochs=12, patience=1)
    whole = train(wanted)
    stops = sorted(set(whole.frame.epochs))
    assert len(stops) > 1 and (whole.frame.best_epoch < whole.frame.epochs).any()
    alike(whole, resumed(wanted, tmp_path / "ended", tuple(stops)))  # the last is after all have stopped


@pytest.mark.parametrize("name, design, settings", [
    ("norms restricted", "ME", {}), ("shared interaction", "ME", {}), ("block-diagonal W", "SE", {}),
    ("blocks", "SE", {"form": "released", "weight": 1e-2}),
    ("frozen", "SE", {"field": "b", "rank": 2, "norm": 1.})])
def test_treatments_go_on(tmp_path, name, design, settings):
    stored, treat = treatment(name, **settings)
    wanted = group("DCNv2", design, treated=stored, max_epochs=3)
    alike(train(wanted, treat=treat), resumed(wanted, tmp_path / "ended", (1, 2), treat))


def test_a_replica_that_failed_stays_failed(tmp_path):
    def sicken(model):
        with torch.no_grad(): model.replica_state(1)["embedding.weight"].fill_(torch.nan)
    wanted = group(treated="one replica is no number", max_epochs=3)
    whole = train(wanted, treat=sicken)
    assert whole.frame.status.tolist() == ["done", "failed"]
    alike(whole, resumed(wanted, tmp_path / "ended", (1, 2), sicken))


def test_nothing_is_drawn_for_the_sake_of_a_checkpoint(tmp_path):
    "Filing every epoch leaves the bits, and the caller's random numbers, as they are."
    state = torch.get_rng_state()
    alike(train(group()), train(group(), tmp_path / "filed"))
    assert torch.equal(torch.get_rng_state(), state)


def filing(folder: Path) -> subprocess.Popen:
    "A process that trains one group and files its state after every epoch."
    paths = [str(ROOT / "tests"), str(ROOT / "docs"), str(ROOT)]
    command = f"import sys; sys.path[:0] = {paths}; import test_epochs as t; t.file_one({str(folder)!r})"
    return subprocess.Popen([sys.executable, "-W", "error", "-c", command])


def strike(store: RunStore, after_s: float) -> bool:
    "Kill a process so many seconds after it has filed an epoch; whether it was still alive."
    state = store.checkpoint(LONG) / FILE
    filed = lambda: state.stat().st_mtime_ns if state.exists() else 0
    before, process, begun = filed(), filing(store.path), time.perf_counter()
    while process.poll() is None and filed() in (before, 0) and time.perf_counter() - begun < 60:
        time.sleep(.002)
    try: process.wait(after_s)
    except subprocess.TimeoutExpired: process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


LONG = group("DCNv2", "ME", 2, max_epochs=10, patience=10, batch_size=128)


def file_one(folder: str) -> None:
    store = RunStore(folder)
    store.save(LONG, *run_group(LONG, DATA, "cpu", False, checkpoint=store.checkpoint(LONG), checkpoint_s=0))


def test_killed_at_random_instants(tmp_path):
    "In training, in the middle of a filing, or in a rename: the store ends as an undisturbed one."
    store, whole = RunStore(tmp_path / "store"), RunStore(tmp_path / "whole")
    moments = random.Random(0)
    assert sum([strike(store, moments.uniform(0, .2)) for _ in range(3)]) > 1
    assert filing(store.path).wait() == 0
    whole.save(LONG, *run_group(LONG, DATA, "cpu", False))
    same(whole, store)
    left = [path.name for path in store.path.rglob("*") if path.is_dir()]
    assert sorted(left) == sorted([LONG.id, ".epochs"])


def test_a_sweep_takes_up_what_was_ended_and_clears_away(tmp_path):
    "Without a function to run groups, too; and a group that was filed meanwhile is no trouble."
    wanted, store, whole = group(), RunStore(tmp_path / "a"), RunStore(tmp_path / "b")
    run = lambda g, s: run_group(g, DATA, "cpu", False, checkpoint=s.checkpoint(g), checkpoint_s=0)
    with ended_after(2), pytest.raises(KeyboardInterrupt):
        sweep([wanted], store, run=lambda g: run(g, store), show=False)
    assert missing([wanted], store) == [wanted] and store.frame().empty
    with patch.object(epochs.Step, "load_state_dict", autospec=True,
                      side_effect=epochs.Step.load_state_dict) as loaded, \
            patch.object(sweep_module, "opened", lambda *_: DATA):
        sweep([wanted], store, show=False)
    assert loaded.called and not store.checkpoint(wanted).exists()
    sweep([wanted], whole, run=lambda g: run_group(g, DATA, "cpu", False), show=False)
    same(whole, store)
    store.save(wanted, *run(wanted, store))  # a second process, later with the same group
    assert not store.checkpoint(wanted).exists()


@pytest.fixture
def ended(tmp_path) -> Path:
    "The folder of a training that was ended after its second epoch."
    with ended_after(2), pytest.raises(KeyboardInterrupt): train(group(), tmp_path / "ended")
    return tmp_path / "ended"


@pytest.mark.parametrize("what, changed", [
    ("recipe", {"weight_decay": 0}), ("recipe", {"max_epochs": 6}), ("seeds", {"seeds": (0, 2)}),
    ("model", {"model": "DNN"})])
def test_another_training_is_refused(ended, what, changed):
    refused(ended, what, lambda: train(group(**changed), ended))


@pytest.mark.parametrize("what, module, name, other", [
    ("code", epochs, "training_code", lambda: "0f0f0f0f0f0f"), ("torch", torch, "__version__", "1.0"),
    ("code", epochs.collapse_nb, "__version__", "0.0.1"), ("threads", torch, "get_num_threads", lambda: 99)])
def test_other_surroundings_are_refused(ended, monkeypatch, what, module, name, other):
    monkeypatch.setattr(module, name, other)
    refused(ended, what, lambda: train(group(), ended))


def test_other_rows_and_another_penalty_are_refused(ended):
    fewer = group().model_copy(update={"fingerprint": "made-3000"})
    refused(ended, "rows", lambda: run_group(fewer, DATA.head(3000), "cpu", False, None, ended, 0))
    treated, treat = treatment("norms restricted")
    refused(ended, "penalty", lambda: train(group(treated=treated), ended, treat))


def refused(folder: Path, what: str, again: Callable) -> None:
    "In a sentence that says what differs and what to do; the checkpoint stays as it is."
    before = (folder / FILE).read_bytes()
    both = rf"is of a training with {what} .*, and this one has {what} "
    with pytest.raises(InputError, match=both) as told: again()
    assert f"delete the folder {folder} to train from the first epoch" in str(told.value)
    assert (folder / FILE).read_bytes() == before


def saved(state: dict) -> bytes:
    "A state as bytes, to be compared."
    torch.save(state, out := io.BytesIO())
    return out.getvalue()


def test_damage_is_seen_or_harms_nothing(ended):
    "One flipped bit anywhere, and a cut at any place."
    file, draw, refused = ended / FILE, random.Random(0), 0
    written, state = file.read_bytes(), saved(epochs._read(file))
    for at in (draw.randrange(len(written)) for _ in range(60)):
        file.write_bytes(written[:at] + bytes([written[at] ^ 1 << draw.randrange(8)]) + written[at + 1:])
        try: assert saved(epochs._read(file)) == state  # between two of its parts, say
        except InputError as err:
            assert f"the checkpoint {file} cannot be read (" in str(err) and f"folder {ended}" in str(err)
            refused += 1
    assert refused > 30
    for cut in (0, 1, 30, len(written) // 2, len(written) - 30, len(written) - 1):
        file.write_bytes(written[:cut])
        with pytest.raises(InputError, match="cannot be read"): train(group(), ended)
    file.write_bytes(written)
    alike(train(group()), train(group(), ended))


def test_a_full_disk_costs_no_training(small_disk):
    "It is told of, nothing half-written is left, and the numbers are those of any other."
    words = r"could not be written \(.*No space left on device.*training goes on"
    with pytest.warns(UserWarning, match=words): there = train(group(), small_disk / "ended")
    for left in (small_disk / "ended").iterdir(): # of an epoch that there was room for
        assert left.name == FILE and epochs._read(left)
    alike(train(group()), there)


def test_two_at_once(tmp_path):
    "Two processes that train one group and file their states in one place end with one result."
    both = [filing(tmp_path) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert len(RunStore(tmp_path).frame()) == 2 and not RunStore(tmp_path).checkpoint(LONG).exists()


def test_code_of_a_training_is_all_that_it_goes_through():
    "What `fit` imports of `train` is told apart by its hash, but for what only measures memory and files."
    graph = module_graph()
    reached, left = set(), ["train.fit"]
    while left:
        module = left.pop()
        reached.add(module)
        left += [m for m in graph[module] if m.startswith("train.") and m not in reached]
    assert {m.removeprefix("train.") for m in reached} == {*LOOP, "memory", "epochs"}
    assert len(training_code()) == 12 and training_code() == training_code.__wrapped__()


def test_rows_of_other_code_are_told_of(tmp_path):
    "Once, in words, when a sweep ends with rows of both; each row says which code it is of."
    store, run = RunStore(tmp_path), lambda g: run_group(g, DATA, "cpu", False)
    one, two = group("DNN", max_epochs=1), group("NFwFM", max_epochs=1)
    result, columns = run(one)
    assert columns["code"] == training_code()
    store.save(one, result, columns | {"code": "0f0f0f0f0f0f"})
    with warnings.catch_warnings(action="error"): sweep([one], store, run=run, show=False)
    with pytest.warns(UserWarning, match="2 by 0f0f0f0f0f0f and the rest by " + training_code()):
        frame = sweep([one, two], store, run=run, show=False)
    assert set(frame.code) == {"0f0f0f0f0f0f", training_code()}
    shutil.rmtree(tmp_path / one.id)
    store.save(one, result, {name: value for name, value in columns.items() if name != "code"})
    with pytest.warns(UserWarning, match="2 by unknown and the rest by"):
        sweep([one, two], store, run=run, show=False)
    with warnings.catch_warnings(action="error"): sweep([two], store, run=run, show=False)
