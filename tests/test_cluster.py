"""A sweep on a real Ray cluster of two nodes, both on this machine: the rows are those of one process."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch
from test_sweep_kill import GROUPS, run, same

from collapse_nb.data.source import open_source
from collapse_nb.nn.zoo import ModelSpec
from collapse_nb.records import InputError
from collapse_nb.train.cluster import TRIES, Cluster
from collapse_nb.train.memory import NoRoom
from collapse_nb.train.recipe import Recipe
from collapse_nb.train.runs import Group, RunStore
from collapse_nb.train.sweep import sweep

ROOT = Path(__file__).resolve().parents[1]
# Ray tells nobody that it runs, and writes no token for others into the home folder
ENV = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1",
       "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
SHORT = [Group(**dict(group) | {"recipe": Recipe(batch_size=64, learning_rate=1e-2, max_epochs=2)})
         for group in GROUPS]


def start_node(*options: str, before: tuple[str, ...] = (), **env: str) -> subprocess.Popen:
    "`ray start`, which stays in front until it is told to end."
    command = [*before, Path(sys.executable).parent / "ray", "start", "--block", *options]
    return subprocess.Popen(command, env=os.environ | ENV | env, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)

def until(true: Callable[[], bool], seconds: float = 60.) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(.1)

def nodes() -> int:
    import ray
    return sum(node["Alive"] for node in ray.nodes())

def ended(node: subprocess.Popen) -> None:
    node.terminate()
    node.wait()


@pytest.fixture(scope="module")
def address():
    "A head with two cores and a node with one, as `ray start` makes them; this process is connected."
    with pytest.MonkeyPatch.context() as patch, socket.socket() as free:
        for name, value in ENV.items(): patch.setenv(name, value)
        ray = pytest.importorskip("ray", reason="no Ray: pip install -e '.[cluster]'")
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        head = start_node("--head", "--port", address.split(":")[1], "--num-cpus", "2",
                          "--include-dashboard=false")
        try:
            until(lambda: answers(address))
            second = start_node("--address", address, "--num-cpus", "1")
            try:
                ray.init(address, log_to_driver=False, logging_level="ERROR")
                until(lambda: nodes() == 2)
                yield address
            finally:
                ray.shutdown()
                ended(second)
        finally: ended(head)

def answers(address: str) -> bool:
    try: socket.create_connection(address.split(":"), timeout=1).close()
    except OSError: return False
    return True


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    "The groups in this process, with one thread, and the first two with two."
    store = RunStore(tmp_path_factory.mktemp("local") / "store")
    sweep(SHORT, store, run=run, show=False)
    return store


ONE = Cluster(threads=1)

@pytest.mark.parametrize("gather", [False, True])
def test_rows_are_those_of_one_process(address, local, tmp_path, gather):
    "Whoever files them, and whichever is done first."
    backwards = {group.cell: float(i) for i, group in enumerate(SHORT)}
    frame = sweep(SHORT, RunStore(tmp_path / "store"), "ray", cluster=Cluster(threads=1, gather=gather),
                  run=run, costs=backwards, show=False)
    assert set(frame.threads) == {1} and frame.estimated_epoch_s.notna().all()
    same(local, without(RunStore(tmp_path / "store"), "estimated_epoch_s"))
    assert sorted(f.name for f in (tmp_path / "store").iterdir()) == sorted(g.id for g in SHORT)

def without(store: RunStore, column: str) -> RunStore:
    store.frame = partial(lambda frame: frame().drop(columns=column), store.frame)
    return store


def test_two_threads_are_two_threads(address, tmp_path):
    "A group's threads are those of a process that was given as many."
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        sweep(SHORT[:2], RunStore(tmp_path / "local"), run=run, show=False)
        frame = sweep(SHORT[:2], RunStore(tmp_path / "ray"), "ray", run=run, show=False)
    finally: torch.set_num_threads(before)
    assert set(frame.threads) == {2}
    same(RunStore(tmp_path / "local"), RunStore(tmp_path / "ray"))


def test_a_group_needs_no_function(address, tmp_path, monkeypatch):
    "Its origin names the rows, by a path that a node with another working folder finds."
    from collapse_nb.data.cards import Card
    from collapse_nb.data.encode import encode
    monkeypatch.chdir(tmp_path)
    Path("clicks.csv").write_text("y,a,b\n" + "".join(f"{i % 3 % 2},{i % 7},{i % 5}\n" for i in range(3000)))
    card = Card(name="clicks", label="y", fields=["a", "b"], min_count=1)
    Path("clicks.toml").write_text('name = "clicks"\nlabel = "y"\nfields = ["a", "b"]\nmin_count = 1\n')
    encode(card, Path("clicks.csv"), Path("encoded"))
    data = open_source("clicks.toml", "encoded")
    group = Group(dataset=data.name, fingerprint=data.fingerprint, spec=ModelSpec("FM"), seeds=(0,),
                  recipe=Recipe(max_epochs=1), origin=("clicks.toml", "encoded", 0))
    sweep([group], RunStore("local"), show=False)
    sweep([group], RunStore("ray"), "ray", cluster=ONE, show=False)
    same(RunStore("local"), RunStore("ray"))


def dies(folder: Path, times: int, group: Group) -> tuple:
    "A run that the system ends, some times, before it goes well."
    (folder / f"{group.spec.design}-{len(list(folder.iterdir()))}-{os.getpid()}").touch()
    if len(list(folder.iterdir())) <= times: os.kill(os.getpid(), signal.SIGKILL)
    return run(group)

def parent_dies(folder: Path, times: int, group: Group) -> tuple:
    "The same, with Ray's worker killed in place of the group's process, which ends with it."
    (folder / str(os.getpid())).touch()
    if len(list(folder.iterdir())) > times: return run(group)
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)

@pytest.mark.parametrize("death", [dies, parent_dies])
def test_a_dead_process_is_tried_again(address, tmp_path, local, death):
    (folder := tmp_path / "tries").mkdir()
    frame = sweep(SHORT[:1], RunStore(tmp_path / "store"), "ray", cluster=ONE, show=False,
                  run=partial(death, folder, 1))
    assert len(frame) == 2 and len(list(folder.iterdir())) == 2
    pids = [f.name.split("-")[-1] for f in folder.iterdir()]
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)

def test_a_node_that_is_gone_is_left_out(address, local, tmp_path):
    "Which the cluster lists for some seconds more."
    third = start_node("--address", address, "--num-cpus", "1")
    try:
        until(lambda: nodes() == 3)
        for process in psutil.Process(third.pid).children(True):
            if process.name() == "raylet": process.kill()
        assert nodes() == 3 # not noted yet
        sweep(SHORT, RunStore(tmp_path / "store"), "ray", cluster=ONE, run=run, show=False)
        same(local, RunStore(tmp_path / "store"))
    finally: ended(third)
    until(lambda: nodes() == 2)

def test_a_group_whose_process_always_dies_is_given_up(address, tmp_path):
    (folder := tmp_path / "tries").mkdir()
    with pytest.raises(InputError, match=r"of DNN SE 1x, seeds 0, 1, died 4 times .*: look whether its node"):
        sweep(SHORT[:1], RunStore(tmp_path / "store"), "ray", cluster=ONE, show=False,
              run=partial(dies, folder, 99))
    assert len(list(folder.iterdir())) == TRIES
    assert list((tmp_path / "store").iterdir()) == []


def refuses(folder: Path, group: Group) -> tuple:
    (folder / str(os.getpid())).touch()
    raise InputError("the rows are wrong: mend them.")

def test_what_a_group_raises_ends_the_sweep(address, tmp_path):
    (folder := tmp_path / "tries").mkdir()
    with pytest.raises(InputError, match=r"^the rows are wrong: mend them\.$"):
        sweep(SHORT[:1], RunStore(tmp_path / "store"), "ray", cluster=ONE, show=False,
              run=partial(refuses, folder))
    assert len(list(folder.iterdir())) == 1


def tight(group: Group) -> tuple:
    if len(group.seeds) > 1: raise NoRoom("two seeds need more than there is: take one.")
    return run(group)

def test_a_group_without_room_is_halved(address, tmp_path):
    frame = sweep(SHORT[:1], RunStore(tmp_path / "store"), "ray", cluster=ONE, run=tight, show=False)
    assert frame.seed.tolist() == [0, 1] and frame.replicas.tolist() == [1, 1]


def noted(folder: Path, group: Group) -> tuple:
    (folder / f"{group.cell}-{os.getpid()}").touch()
    return run(group)

def slow(folder: Path, group: Group) -> tuple:
    "A run that lasts until others have begun two."
    (folder / f"{group.cell}-{os.getpid()}").touch()
    until(lambda: len({f.name.split("-")[1] for f in folder.iterdir()}) > 2)
    return run(group)

def test_two_drivers_share_a_store(address, local, tmp_path):
    "One on the cluster, one in a process of its own, which began before: no cell is trained twice."
    (folder := tmp_path / "runs").mkdir()
    store = tmp_path / "store"
    command = (f"import test_cluster as t; t.sweep(t.SHORT, t.RunStore({str(store)!r}), show=False, "
               f"run=t.partial(t.slow, t.Path({str(folder)!r})))")
    other = subprocess.Popen([sys.executable, "-c", command], env=os.environ | ENV)
    until(lambda: any(folder.iterdir()))
    sweep(SHORT, RunStore(store), "ray", cluster=ONE, run=partial(noted, folder), show=False)
    assert other.wait() == 0
    assert sorted(f.name.split("-")[0] for f in folder.iterdir()) == sorted(g.cell for g in SHORT)
    same(local, RunStore(store))


def untouched(group: Group): raise AssertionError("it was submitted")

def refused(match: str, tmp_path: Path, **cluster) -> None:
    "Before anything runs, and with nothing left."
    with pytest.raises(InputError, match=match):
        sweep(SHORT[:1], RunStore(tmp_path / "store"), "ray", cluster=Cluster(threads=1, **cluster),
              run=untouched, show=False)
    assert list((tmp_path / "store").iterdir()) == []

def test_another_version_is_refused(address, tmp_path, monkeypatch):
    import collapse_nb
    monkeypatch.setattr(collapse_nb, "__version__", "9.0")
    refused(r"node \S+ has collapse_nb \S+ and this process 9\.0: install the same", tmp_path)

def test_too_many_threads_and_no_gpu_are_refused(address, tmp_path):
    with pytest.raises(InputError, match="groups of 64 threads were asked for and the largest node has 2"):
        sweep(SHORT[:1], RunStore(tmp_path), "ray", cluster=Cluster(threads=64), run=run, show=False)
    refused("no node of the cluster with as many threads has a GPU", tmp_path, device="cuda")


@contextmanager
def a_node_of_its_own(address: str, *mounts: str) -> Iterator[None]:
    "A third node, with file systems that it alone has; mounting takes privileges."
    alone = ["unshare", "-m"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("a file system of one process needs privileges")
    hide = " && ".join([*mounts, 'exec "$@"'])
    node = start_node("--address", address, "--num-cpus", "1", before=(*alone, "sh", "-c", hide, "sh"))
    try:
        until(lambda: nodes() == 3)
        yield
    finally:
        ended(node)
        until(lambda: nodes() == 2)

def test_a_node_without_the_package_is_refused(address, tmp_path):
    with a_node_of_its_own(address, f"mount -t tmpfs tmpfs {ROOT / 'collapse_nb'}"):
        refused(r"cannot import collapse_nb \(.*\): install version \S+ there", tmp_path)

def test_a_node_without_the_store_is_refused(address, tmp_path):
    "Where this process files the results, the same runs go well."
    (store := tmp_path / "store").mkdir()
    with a_node_of_its_own(address, f"mount -t tmpfs tmpfs {store}"):
        refused(r"node \S+ does not see the store: name a folder", tmp_path)
        frame = sweep(SHORT[:3], RunStore(store), "ray", cluster=Cluster(threads=1, gather=True), run=run,
                      show=False)
    assert len(frame) == 6
    read_only = f"mount --bind {store} {store} && mount -o remount,ro,bind {store}"
    with a_node_of_its_own(address, read_only):
        with pytest.raises(InputError, match=r"node \S+ cannot write the store"):
            sweep(SHORT[3:], RunStore(store), "ray", cluster=ONE, run=untouched, show=False)


def test_notebook_06_starts_a_cluster_and_stops_it(tmp_path):
    "By papermill, where no cluster runs and none is named."
    pytest.importorskip("ray", reason="no Ray: pip install -e '.[cluster]'")
    command = [sys.executable, "-m", "papermill", ROOT / "nbs" / "06_scaling.ipynb", tmp_path / "done.ipynb",
               "-p", "engine", "ray", "-p", "store", tmp_path / "store", "-p", "out_dir", tmp_path / "out",
               "-y", "{scales: [1, 2], seeds: 1, rows: 2048, max_epochs: 1}"]
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | ENV
    done = subprocess.run(command, cwd=tmp_path, env=env | {"STARTED_BY": str(tmp_path)}, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    store = RunStore(tmp_path / "store")
    assert len(store.frame()) == 3
    assert {f.name for f in store.path.iterdir()} == {g.id for g in store.groups()}
    until(lambda: not [p for p in psutil.process_iter() if started_by(p) == str(tmp_path)])

def started_by(process: psutil.Process) -> str | None:
    try: return process.environ().get("STARTED_BY")
    except psutil.Error: return None
