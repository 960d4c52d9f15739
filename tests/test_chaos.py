"""Ten blows on a sweep, where `make chaos` deals two hundred; they fall where they should."""
import itertools
import shutil

import chaos
import pytest


def test_ten_blows(tmp_path):
    log = chaos.chaos(kills=10, seed=1, folder=tmp_path)
    assert log.blow.tolist() == [*range(1, 11)] and log.exit.ne(0).all()
    assert log.place.nunique() > 1 and log.what.nunique() > 2
    store = chaos.RunStore(tmp_path / "sweep 1")
    chaos.whole(store, chaos.RunStore(tmp_path / "undisturbed"))
    (left := store.path / f".{chaos.GROUPS[0].id}.0f0f0f0f.1.0f0f0f0f.tmp").mkdir()
    with pytest.raises(AssertionError): chaos.whole(store, chaos.RunStore(tmp_path / "undisturbed"))
    left.rmdir()
    shutil.rmtree(store.path / chaos.GROUPS[3].id)
    with pytest.raises(AssertionError): chaos.whole(store, chaos.RunStore(tmp_path / "undisturbed"))


def test_a_seed_is_a_plan():
    plans = [[*itertools.islice(chaos.blows(seed), 200)] for seed in (0, 0, 1)]
    assert plans[0] == plans[1] != plans[2]
    assert {blow.place for blow in plans[0]} == {"instant", "training", "filing"}
    assert len({(blow.place, blow.what) for blow in plans[0]}) == 11 and len(chaos.GROUPS) >= 20
