"""A sweep killed at any instant and started again ends with the rows of an undisturbed one."""
import errno
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from collapse_nb.data.dataset import Encoded, Split
from collapse_nb.fields import FieldSchema
from collapse_nb.nn.zoo import ModelSpec
from collapse_nb.records import InputError
from collapse_nb.train import runs as runs_module
from collapse_nb.train.fit import Recipe
from collapse_nb.train.runs import TIMINGS, Group, RunStore
from collapse_nb.train.sweep import run_group, sweep

ROOT = Path(__file__).resolve().parents[1]


def clicks(num_rows: int, seed: int) -> Split:
    """Rows whose label depends on a pair of fields, so that epochs differ and early stopping has something
    to stop."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, [7, 30, 5], (num_rows, 3)).astype(np.int32)
    return Split(x, ((x[:, 0] * x[:, 1] % 3 == 0) ^ (rng.random(num_rows) < 0.25)).astype(np.uint8))


DATA = Encoded("made-up", FieldSchema(["a", "b", "c"], [7, 30, 5]), clicks(6000, 0), clicks(1000, 1),
               clicks(1000, 2), "made-up", 0.5)
CELLS = [("DNN", "SE", 1), ("DCNv2", "SE", 2), ("DCNv2", "ME", 2), ("NFwFM", "ME", 2), ("IPNN", "ME", 3)]
GROUPS = [Group(dataset=DATA.name, fingerprint=DATA.fingerprint, spec=ModelSpec(*cell, hidden=40),
                seeds=(0, 1),
                recipe=Recipe(batch_size=64, learning_rate=1e-2, patience=2, max_epochs=8)) for cell in CELLS]


def run(group: Group) -> tuple:
    return run_group(group, DATA, "cpu", show=False)


def go(store: str | Path) -> pd.DataFrame:
    "What each process does."
    return sweep(GROUPS, RunStore(store), run=run, show=False)


def start(store: Path) -> subprocess.Popen:
    command = (f"import sys; sys.path[:0] = [{str(ROOT / 'tests')!r}, {str(ROOT)!r}]; import test_sweep_kill "
               f"as t; t.go({str(store)!r})")
    return subprocess.Popen([sys.executable, "-c", command])


def same(a: RunStore, b: RunStore) -> None:
    "Two stores hold the same results: every row, epoch and array, timings aside."
    pd.testing.assert_frame_equal(a.frame().drop(columns=list(TIMINGS)),
                                  b.frame().drop(columns=list(TIMINGS)))
    pd.testing.assert_frame_equal(a.history().drop(columns="train_s"), b.history().drop(columns="train_s"))
    for group in a.groups():
        for name in ("abundance", "test_logits"):
            np.testing.assert_array_equal(a.array(group.id, name), b.array(group.id, name))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[RunStore, float]:
    "A sweep in a process of its own, and how long it took."
    path, begun = tmp_path_factory.mktemp("undisturbed") / "store", time.perf_counter()
    assert start(path).wait() == 0
    return RunStore(path), time.perf_counter() - begun


def test_killed_five_times(undisturbed, tmp_path):
    reference, seconds = undisturbed
    moments, killed = random.Random(0), 0
    for _ in range(60):
        process = start(tmp_path / "store")
        try: process.wait(moments.uniform(0.2, 0.8) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
        RunStore(tmp_path / "store").frame()  # readable after every blow
        if killed == 5: break
        if process.returncode == 0:  # done before the blow: begin again, and strike sooner
            shutil.rmtree(tmp_path / "store")
            killed, seconds = 0, 0.8 * seconds
    else: pytest.fail("no sweep could be killed five times")
    assert start(tmp_path / "store").wait() == 0
    same(reference, RunStore(tmp_path / "store"))


PAIR = [Group(**dict(GROUPS[0]) | {"spec": ModelSpec("DNN", design, 2, hidden=8), "seeds": (0, 1, 2)})
        for design in ("SE", "ME")]


def go_until(store: str | Path) -> pd.DataFrame:
    "A sweep that adds seeds for the sake of a width, to at most eight."
    return sweep(PAIR, RunStore(store), run=run, until=1e-4, at_most=8, show=False)


def test_seeds_that_are_added_survive_blows_too(tmp_path):
    "Killed once in either stage, the sweep ends with the seeds and rows of an undisturbed one."
    begun = time.perf_counter()
    whole = go_until(tmp_path / "whole")
    seconds = time.perf_counter() - begun
    assert sorted(whole.seed) == sorted([*range(8)] * 2) # so small a width takes all that is allowed
    command = (f"import sys; sys.path[:0] = [{str(ROOT / 'tests')!r}, {str(ROOT)!r}]; import test_sweep_kill "
               f"as t; t.go_until({str(tmp_path / 'store')!r})")
    there, killed = lambda: len(RunStore(tmp_path / "store").groups()), 0
    for groups in (1, 3): # within the first stage, within the second
        process = subprocess.Popen([sys.executable, "-c", command])
        while process.poll() is None and there() < groups and time.perf_counter() - begun < 20 * seconds + 60:
            time.sleep(.01)
        process.kill()
        killed += process.wait() == -signal.SIGKILL
    assert killed
    go_until(tmp_path / "store")
    same(RunStore(tmp_path / "whole"), RunStore(tmp_path / "store"))


def test_two_sweeps_at_once(undisturbed, tmp_path):
    both = [start(tmp_path / "store") for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    same(undisturbed[0], RunStore(tmp_path / "store"))


def test_more_seeds_later_are_a_group_of_their_own(undisturbed):
    group = GROUPS[0].with_seeds((0, 1, 2))
    frame = sweep([group], undisturbed[0], run=run, show=False)
    assert sorted(frame[frame.group == GROUPS[0].id].seed) == [0, 1]
    assert frame[frame.group == GROUPS[0].with_seeds((2,)).id].seed.tolist() == [2]


def test_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_): raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(runs_module.np, "save", full)
    with pytest.raises(InputError, match=r"disk under .* is full"):
        sweep(GROUPS[:1], RunStore(tmp_path / "store"), run=run, show=False)
    assert list((tmp_path / "store").iterdir()) == []
    monkeypatch.undo()
    assert len(sweep(GROUPS[:1], RunStore(tmp_path / "store"), run=run, show=False)) == 2


def test_what_a_killed_process_left_does_not_count(undisturbed, tmp_path):
    leftover = undisturbed[0].path / f".{GROUPS[0].id}.deadbeef.tmp"
    leftover.mkdir()
    (leftover / "group.json").write_text("{}")
    assert all(not f.name.startswith(".") for f in undisturbed[0].folders())
    undisturbed[0].frame()
