"""A sweep in processes of one thread each files what one process of one thread files; one that is killed
ends it with a sentence."""
import os
import signal

import numpy as np
import pytest
import torch

from collapse_nb.data.source import open_source
from collapse_nb.nn.zoo import ModelSpec
from collapse_nb.records import InputError
from collapse_nb.train import parameters
from collapse_nb.train.parameters import Scaling
from collapse_nb.train.recipe import Recipe
from collapse_nb.train.runs import TIMINGS, Group, RunStore
from collapse_nb.train.sweep import sweep

ROWS = 2000


@pytest.fixture
def groups() -> list[Group]:
    fingerprint = open_source("synthetic", "", ROWS).fingerprint
    return [Group(dataset="synthetic", fingerprint=fingerprint, spec=ModelSpec(model, base_dim=4, hidden=16),
                  seeds=(0, 1), recipe=Recipe(max_epochs=2), origin=("synthetic", "", ROWS))
            for model in ("FM", "DNN", "xDeepFM")]


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_rows_histories_and_logits_are_those_of_one_thread(groups, threads, tmp_path):
    threads(1)
    alone = RunStore(tmp_path / "alone")
    want = sweep(groups, alone, show=False)
    threads(2)
    store = RunStore(tmp_path / "store")
    got = sweep(groups, store, "processes", show=False)
    untimed = lambda frame: frame.drop(columns=[*TIMINGS], errors="ignore")
    assert untimed(want).equals(untimed(got)[untimed(want).columns])
    timed = ["train_s"]
    assert alone.history().drop(columns=timed).equals(store.history().drop(columns=timed))
    for group in groups:
        assert np.array_equal(alone.array(group.id, "test_logits"), store.array(group.id, "test_logits"))
    assert {f.name for f in store.path.iterdir()} == {group.id for group in groups}


def test_what_no_other_process_can_run_is_refused_with_a_sentence(groups, tmp_path, monkeypatch):
    here = 1
    with pytest.raises(InputError, match="give a function of a module"):
        sweep(groups, RunStore(tmp_path / "store"), "processes", run=lambda group: here, show=False)
    monkeypatch.setattr(parameters, "find_device", lambda device: torch.device(device)) # as if there were one
    with pytest.raises(InputError, match="its processes train on the CPU"):
        Scaling(engine="processes", device="cuda")


def end_process(group: Group) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_ends_the_sweep_with_a_sentence(groups, threads, tmp_path):
    threads(2)
    store = RunStore(tmp_path / "store")
    sweep(groups[:1], store, show=False)
    with pytest.raises(InputError, match=r"ended from outside.*finished groups are kept"):
        sweep(groups, store, "processes", run=end_process, show=False)
    assert [group.id for group in store.groups()] == [groups[0].id]
