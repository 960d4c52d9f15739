"""A real small sweep is watched from outside: what is done, and how long it will take, within a quarter."""
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import test_sweep_kill as small

from collapse_nb.nn.zoo import ModelSpec
from collapse_nb.train.recipe import Recipe
from collapse_nb.train.runs import Group, RunStore, StoredRuns
from collapse_nb.train.sweep import run_group, sweep
from collapse_nb.train.watch import notes_of, status

ROOT = Path(__file__).resolve().parents[1]
DATA = small.DATA.head(256)
GROUPS = [Group(dataset=DATA.name, fingerprint=DATA.fingerprint, spec=ModelSpec("DNN", hidden=8),
                seeds=(0, 1), recipe=Recipe(max_epochs=1, weight_decay=n / 1e6)) for n in range(10)]
SECONDS = {group.cell: 1 + n % 4 / 2 for n, group in enumerate(GROUPS)}


def at_leisure(group: Group) -> tuple:
    "A real training, and rest until the group has had its time, whatever else the machine does."
    end = time.monotonic() + SECONDS[group.cell]
    trained = run_group(group, DATA, "cpu", show=False)
    time.sleep(max(0, end - time.monotonic()))
    return trained


def go(path: str) -> None:
    "What the watched process does; its costs are right up to a factor, as those of one epoch are."
    sweep(GROUPS, RunStore(path), run=at_leisure, show=False,
          costs={cell: seconds / 14 for cell, seconds in SECONDS.items()})


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> tuple[Path, list]:
    "A sweep in a process of its own, and what was seen of it: the time, and the status."
    store, seen = tmp_path_factory.mktemp("watched") / "store", []
    command = (f"import sys; sys.path[:0] = [{str(ROOT / 'tests')!r}, {str(ROOT)!r}]; import test_watch; "
               f"test_watch.go({str(store)!r})")
    process, runs, notes = subprocess.Popen([sys.executable, "-c", command]), StoredRuns(store), []
    while process.poll() is None:
        if notes := notes_of(runs) or notes: seen.append((time.time(), status(runs, notes)))
        time.sleep(.2)
    assert process.returncode == 0 and notes_of(runs) == []
    return store, [*seen, (time.time(), status(runs, notes))]


def test_what_is_done_and_running(watched):
    _, seen = watched
    states = [(s.count("done"), s.count("running"), s.count("waiting")) for _, s in seen]
    assert all(sum(state) == len(GROUPS) for state in states)
    assert [state[0] for state in states] == sorted(state[0] for state in states), "nothing is undone"
    assert {done for done, _, _ in states} >= set(range(2, len(GROUPS) + 1)), "one after the other"
    assert max(running for _, running, _ in states) == 1
    last = seen[-1][1]
    assert last.finished and last.seconds_left == 0 and not last.groups.failed.any()


def test_hours_left_are_within_a_quarter(watched):
    """From the third group on until a fifth is left; the middle one of all looks, for a machine has other
    work."""
    store, seen = watched
    end = max(file.stat().st_mtime for file in store.glob("*/runs.json"))
    begin, _ = seen[0]
    errors = [abs(s.seconds_left / (end - now) - 1) for now, s in seen
              if s.count("done") >= 3 and end - now > .2 * (end - begin)]
    assert len(errors) >= 5 and np.median(errors) <= .25, np.round(errors, 2)
