"""Stores that are merged, in any order and by processes that are killed, and how a large one is read."""
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_trackers import file_group, group_of

from collapse_nb.records import InputError
from collapse_nb.train.runs import RunStore, StoredRuns
from collapse_nb.train.stores import differences, merge, verify

ROOT = Path(__file__).resolve().parents[1]


def filled(place: Path, seeds) -> StoredRuns:
    for seed in seeds: file_group(place, group_of(seed))
    return StoredRuns(place)


@settings(max_examples=6, deadline=None)
@given(st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=1, max_size=3), st.randoms())
def test_merging_takes_the_union_in_any_order(parts, random):
    with tempfile.TemporaryDirectory() as place:
        stores = [filled(Path(place, f"part{n}"), seeds) for n, seeds in enumerate(parts)]
        merge(one := StoredRuns(Path(place, "one")), stores)
        random.shuffle(stores)
        merge(other := StoredRuns(Path(place, "other")), stores)
        assert sorted(one.frame().seed) == sorted(set().union(*parts))
        assert differences(one, other).empty and merge(one, stores) == []


def test_a_killed_merge_is_begun_again_and_ends_the_same(tmp_path):
    "No half group at any instant, and none missing or doubled in the end."
    source, into = filled(tmp_path / "source", range(150)), StoredRuns(tmp_path / "into")
    code = ("import sys; from collapse_nb.train.runs import StoredRuns as S; "
            "from collapse_nb.train.stores import merge; merge(S(sys.argv[1]), [S(sys.argv[2])])")
    seen = []
    for wanted in (1, 60): # killed when so many are there
        process = subprocess.Popen([sys.executable, "-c", code, str(into.path), str(source.path)], cwd=ROOT)
        while process.poll() is None and len(into.folders()) < wanted: time.sleep(.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen.append(len(into.folders()))
        assert (verify(into).status == "whole").all() and len(verify(into)) == seen[-1]
    assert 0 < seen[0] < seen[1] < 150
    assert len(merge(into, [source])) == 150 - seen[1]
    assert differences(into, source).empty and len(into.frame()) == 150


def opened_within(place: Path, work) -> tuple[list[str], object]:
    "Which files below a place were opened by a call, and what it gave."
    opened, watching = [], True
    def hook(event, args):
        if event == "open" and watching and str(args[0]).startswith(str(place)): opened.append(str(args[0]))
    sys.addaudithook(hook) # there is no way to take it away again
    try: got = work()
    finally: watching = False
    return opened, got


def test_each_file_of_a_group_is_opened_once(tmp_path):
    "What a large store's reading takes is mostly opening files."
    filled(tmp_path / "store", range(5))
    opened, frame = opened_within(tmp_path, RunStore(tmp_path / "store").frame)
    assert len(frame) == 5 and len(opened) == len(set(opened)) == 3 * 5 # record, rows and checksums


def test_groups_are_read_once_and_again_when_their_files_have_changed(tmp_path):
    "A sweep asks for all of them whenever it takes one."
    store = filled(tmp_path / "store", range(5))
    assert len(store.groups()) == 5
    opened, groups = opened_within(tmp_path, store.groups)
    assert opened == [] and len(groups) == 5
    filled(tmp_path / "store", [5])
    opened, groups = opened_within(tmp_path, StoredRuns(store.path).groups)
    assert len(opened) == 3 and len(groups) == 6
    rows = store.folders()[0] / "runs.json"
    rows.write_text(rows.read_text()[:-5])
    with pytest.raises(InputError, match=r"runs\.json"): store.groups()
