"""A real small sweep is watched from outside: what is done, and how long it will take, within a quarter."""
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import test_sweep_kill as small
from typer.testing import CliRunner

from collapse_nb.cli_runs import app
from collapse_nb.nn.zoo import ModelSpec
from collapse_nb.results import write_whole
from collapse_nb.train.announce import SWEEPS, announced, this_host
from collapse_nb.train.recipe import Recipe
from collapse_nb.train.runs import Group, RunStore, StoredRuns
from collapse_nb.train.sweep import run_group, sweep
from collapse_nb.train.watch import LEASE_S, notes_of, status

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


def leave_note(store: Path, name: str) -> Path:
    "What a sweep of one group leaves if it is killed, under the name of another machine or process."
    with announced(GROUPS[:1], store, {}) as note: told = note.read_text()
    return write_whole(store / SWEEPS / name, told)


def watch(store: Path):
    return CliRunner().invoke(app, ["watch", str(store), "--every", "0.05"])


def test_watching_ends_with_a_sweep_that_is_killed(tmp_path):
    "kill -9 while it trains: its note and its lease stay behind, and no time is told that nobody works."
    store = tmp_path / "store"
    command = (f"import sys; sys.path[:0] = [{str(ROOT / 'tests')!r}, {str(ROOT)!r}]; import test_watch; "
               f"test_watch.go({str(store)!r})")
    process, runs = subprocess.Popen([sys.executable, "-c", command]), StoredRuns(store)
    while not (len(runs.folders()) > 0 and status(runs, notes_of(runs)).count("running")):
        assert process.poll() is None
        time.sleep(.02)
    process.kill() # and nobody asks how it ended, so that it is a zombie
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    seen = watch(store)
    process.wait()
    done = len({group.cell for group in runs.groups()})
    assert seen.exit_code == 1 and seen.stdout.rstrip().endswith(
        f"{done} of {len(GROUPS)} cells done, 0 running, {len(GROUPS) - done} waiting; the sweep has ended; "
        f"{len(GROUPS) - done} cells are missing"), seen.stdout


def test_a_process_that_has_another_ones_number(tmp_path):
    note = leave_note(tmp_path, f"{this_host()}-{os.getpid()}.json")
    assert notes_of(StoredRuns(tmp_path))[0]["goes_on"]
    note.write_text(json.dumps(json.loads(note.read_text()) | {"born": 0}))
    assert watch(tmp_path).stdout.endswith("the sweep has ended; 1 cell is missing\n")


def test_a_sweep_of_another_machine_runs_while_its_leases_have_heartbeats(tmp_path):
    note, now = leave_note(tmp_path, "elsewhere-1.json"), time.time()
    goes_on = lambda later: notes_of(StoredRuns(tmp_path), now + later)[0]["goes_on"]
    assert goes_on(LEASE_S / 2) and not goes_on(LEASE_S + 1), "it may have begun just now"
    lease = write_whole(tmp_path / ".leases" / GROUPS[0].cell, f"duration={LEASE_S}\n")
    os.utime(lease, (now + 1000, now + 1000))
    assert goes_on(1000 + LEASE_S / 2) and not goes_on(1001 + LEASE_S)
    for file in (note, lease): os.utime(file, (now - 1000, now - 1000))
    seen = watch(tmp_path)
    assert seen.exit_code == 1 and "the sweep has ended; 1 cell is missing" in seen.stdout


def test_what_was_done_before_counts_and_says_nothing_of_the_time(watched):
    store, _ = watched
    more = Group(dataset=DATA.name, fingerprint=DATA.fingerprint, spec=ModelSpec("FM"), seeds=(0,))
    with announced([*GROUPS, more], store, {}):
        seen = status(StoredRuns(store), notes_of(StoredRuns(store)))
    assert seen.line() == "10 of 11 cells done, 0 running, 1 waiting; not known yet how long"


def test_a_sweep_that_is_started_again_counts_the_whole_study(tmp_path):
    store, seen = RunStore(tmp_path), []
    def run(group):
        seen.append(status(store, notes_of(store)).line())
        return run_group(group, DATA, "cpu", show=False)
    sweep(GROUPS[:1], RunStore(tmp_path), run=run, show=False)
    sweep(GROUPS[:3], RunStore(tmp_path), run=run, show=False)
    assert [line.partition(";")[0] for line in seen] == [
        "0 of 1 cells done, 1 running, 0 waiting", "1 of 3 cells done, 1 running, 1 waiting",
        "2 of 3 cells done, 1 running, 0 waiting"]
