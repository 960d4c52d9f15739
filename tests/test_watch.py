"""A real small sweep is watched from outside: what is done, and how long it will take, within a quarter."""
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import test_sweep_kill as small
from typer.testing import CliRunner

from collapse_nb.cli import app
from collapse_nb.nn.zoo import ModelSpec
from collapse_nb.train.recipe import Recipe
from collapse_nb.train.runs import Group, RunStore, StoredRuns
from collapse_nb.train.sweep import sweep
from collapse_nb.train.watch import status

ROOT = Path(__file__).resolve().parents[1]
# of equal cost, so that what is judged is not how well a step of two milliseconds can be timed
GROUPS = [Group(dataset=small.DATA.name, fingerprint=small.DATA.fingerprint, spec=ModelSpec("DNN", hidden=40),
                seeds=(0, 1), recipe=Recipe(batch_size=64, max_epochs=3, weight_decay=decay / 1e6))
          for decay in range(8)]


def go(path: str) -> None:
    "What the watched process does."
    sweep(GROUPS, RunStore(path), run=small.run, show=False)


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> tuple[Path, list]:
    "A sweep in a process of its own, and what was seen of it: the time, and the status."
    store, seen = tmp_path_factory.mktemp("watched") / "store", []
    command = (f"import sys; sys.path[:0] = [{str(ROOT / 'tests')!r}, {str(ROOT)!r}]; import test_watch; "
               f"test_watch.go({str(store)!r})")
    process = subprocess.Popen([sys.executable, "-c", command])
    while process.poll() is None:
        if (store / ".sweeps").exists(): seen.append((time.time(), status(StoredRuns(store))))
        time.sleep(.2)
    assert process.returncode == 0
    return store, [*seen, (time.time(), status(StoredRuns(store)))]


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


def test_the_command_ends_with_the_sweep(watched):
    done = CliRunner().invoke(app, ["runs", "watch", str(watched[0])])
    assert done.exit_code == 0 and "8 of 8 cells done, 0 running, 0 waiting; 0 h left" in done.stdout
