"""Ends the process of a sweep again and again, and holds what comes of it against an undisturbed sweep.

    make chaos KILLS=200 SEED=0                             # a sweep in one process
    make chaos KILLS=20 SEED=0 P="--engine processes"       # in two; or ray, on a cluster of two nodes

A blow falls at a moment that is drawn: by the clock, in a training step, or when a finished group is about
to be filed. It ends the process right there (SIGKILL), or right before or after the next rename; in the
middle of writing the next file that is too large (a limit on the size of files, at which the system ends it);
or it fills the disk (the same limit, at which writing fails). When a sweep comes to its end it is compared,
and the next one begins in an empty store. The log has a row for each blow.

A sweep in several processes is struck by the clock: its driver, a process that trains a group, or, on a Ray
cluster, the raylet of a node, which is started again.
"""
import argparse
import multiprocessing
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pandas as pd
import psutil
import torch
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from test_sweep_kill import DATA, same  # noqa: E402

from collapse_nb.controls import treatment  # noqa: E402
from collapse_nb.nn.zoo import ModelSpec  # noqa: E402
from collapse_nb.train.announce import SWEEPS  # noqa: E402
from collapse_nb.train.cluster import Cluster  # noqa: E402
from collapse_nb.train.epochs import FILE  # noqa: E402
from collapse_nb.train.recipe import Recipe  # noqa: E402
from collapse_nb.train.runs import EPOCHS, Group, RunStore  # noqa: E402
from collapse_nb.train.step import Step  # noqa: E402
from collapse_nb.train.sweep import ENGINES, run_group, sweep  # noqa: E402

OPTIMIZERS = ("Adam", "AdamW", "SparseAdam", "Adagrad", "RowWiseAdagrad")
CELLS = [("DNN", "SE", 1), ("DCNv2", "ME", 2), ("NFwFM", "ME", 2), ("xDeepFM", "SE", 1)]
TREATED = [("", "SE"), ("norms restricted", "ME"), ("shared interaction", "ME"), ("block-diagonal W", "SE")]
TREATS = {name: treatment(name)[1] for name, _ in TREATED if name}


def group(spec: ModelSpec, treated: str = "", **recipe) -> Group:
    "Three replicas, which may stop at different epochs."
    how = Recipe(batch_size=500, learning_rate=2e-2, patience=1, max_epochs=4, **recipe)
    return Group(dataset=DATA.name, fingerprint=DATA.fingerprint, spec=spec, treatment=treated, recipe=how,
                 seeds=(0, 1, 2))


GROUPS = [*(group(ModelSpec(*cell, base_dim=4, hidden=20), optimizer=name, batch_norm=norm)
            for cell, norm in zip(CELLS, ["recomputed", "running"] * 2, strict=True) for name in OPTIMIZERS),
          *(group(ModelSpec("DCNv2", design, 2, base_dim=4, hidden=20), name) for name, design in TREATED)]


class Blow(NamedTuple):
    "What ends a process, and when."
    place: str  # instant: by the clock; training: in a step; filing: with a finished group
    what: str   # kill, writing, before rename, after rename, full disk
    count: int  # milliseconds, steps, or groups until then
    size: int   # bytes of a file that is written until it is cut or the disk is full


def blows(seed: int) -> Iterator[Blow]:
    "The same ones for the same seed."
    draw = random.Random(seed)
    while True:
        place = draw.choice(["instant", "training", "filing"])
        what = "kill" if place == "instant" else draw.choice(["kill", "writing", "before rename",
                                                              "after rename", "full disk"])
        count = draw.randrange({"instant": 1500, "training": 90, "filing": 3}[place])
        yield Blow(place, what, count, round(2 ** draw.uniform(6, 16 if place == "training" else 12)))


def die() -> None: os.kill(os.getpid(), signal.SIGKILL)


def begin(blow: Blow) -> None:
    "Its time has come: end the process, or see to it that it ends soon."
    rename = os.replace
    def before(*names): die()
    def after(*names): rename(*names); die()
    match blow.what:
        case "kill": die()
        case "before rename": os.replace = before
        case "after rename": os.replace = after
        case _:  # Python ignores the signal, and then writing fails; by itself, the signal ends a process
            if blow.what == "writing": signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0)) # nor should it leave its memory on the disk
            resource.setrlimit(resource.RLIMIT_FSIZE, (blow.size, resource.RLIM_INFINITY))


def counted(call, blow: Blow):
    "A method before whose call the blow falls, when it has been called often enough."
    left = blow.count
    def counting(*arguments):
        nonlocal left
        if left == 0: begin(blow)
        left -= 1
        return call(*arguments)
    return counting


def trained(store: RunStore, g: Group) -> tuple:
    return run_group(g, DATA, "cpu", False, TREATS.get(g.treatment), store.checkpoint(g), 0)


def live(path: str, blow: Blow | None, filed, trains) -> None:
    "The sweep, in a process of its own, until it is done or ended."
    rename, step = os.replace, Step.__call__
    def noted(*names):
        rename(*names)
        filed.value = time.time()
    def told(*arguments):
        trains.value = 1
        return step(*arguments)
    os.replace, Step.__call__ = noted, told
    if blow and blow.place == "training": Step.__call__ = counted(Step.__call__, blow)
    if blow and blow.place == "filing": RunStore.save = counted(RunStore.save, blow)
    sys.stderr = open(os.devnull, "w")  # a full disk is told of, as it should be
    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which a killed process leaves
    store = RunStore(path)
    sweep(GROUPS, store, run=partial(trained, store), show=False)


def started(path: Path, blow: Blow | None = None) -> tuple[int, float, float]:
    "A life: how it ended, how long it was, and the seconds at its end of which nothing was filed."
    filed, trains, begun = PROCESSES.RawValue("d", 0.), PROCESSES.RawValue("i", 0), time.time()
    life = PROCESSES.Process(target=live, args=(str(path), blow, filed, trains))
    life.start()
    if blow and blow.place == "instant":  # of its training: getting there takes longer
        while life.is_alive() and not trains.value: time.sleep(.005)
        life.join(blow.count / 1000)
        life.kill()
    life.join()
    ended = time.time()
    return life.exitcode, ended - begun, ended - max(begun, filed.value)


PROCESSES = multiprocessing.get_context("forkserver")


def whole(store: RunStore, reference: RunStore) -> None:
    "Nothing is lost, doubled, half-written or left over, and every number is as in the undisturbed sweep."
    same(reference, store)
    there, files = (sorted(str(path.relative_to(s.path)) for path in s.path.rglob("*")
                           if path.relative_to(s.path).parts[0] not in (EPOCHS, SWEEPS))
                    for s in (store, reference))
    assert there == files, f"there are {there}; there should be {files}"
    assert not [*(store.path / EPOCHS).rglob("*")] and len([*(store.path / SWEEPS).glob("*")]) <= 1
    assert not store.frame().duplicated(["group", "seed"]).any()
    assert len(store.frame()) == sum(len(g.seeds) for g in GROUPS)


def chaos(
    kills: int,         # blows that end a process, one or more
    seed: int,          # of where they fall
    folder: Path,       # for the stores
    show: bool = False, # a progress bar
    keep: Callable[[list[dict]], None] = id, # is given the rows after each whole sweep
) -> pd.DataFrame:      # a row per blow
    """Sweeps that are ended until so many blows have fallen, and then one to its end.

    A blow that comes too late, because its sweep is done, counts for nothing. Raises AssertionError for a
    sweep that does not end as the undisturbed one.
    """
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "tests"), str(ROOT)])
    PROCESSES.set_forkserver_preload(["chaos"])
    reference, rows, drawn, sweeps = RunStore(folder / "undisturbed"), [], blows(seed), 0
    assert started(reference.path)[0] == 0
    with tqdm(total=kills, disable=not show, unit=" blows", mininterval=10) as bar:
        while len(rows) < kills:
            store, code = RunStore(folder / f"sweep {(sweeps := sweeps + 1)}"), None
            while code != 0:
                blow = next(drawn) if len(rows) < kills else None
                code, lived_s, lost_s = started(store.path, blow)
                if code == 0: break
                assert blow, f"undisturbed, a sweep ended with {code}"
                store.frame(), store.history() # readable after every blow
                filed = [*(store.path / EPOCHS).glob(f"*/{FILE}")]
                rows.append({"blow": len(rows) + 1, "sweep": sweeps, **blow._asdict(), "exit": code,
                             "groups_done": len(store.folders()), "unfinished_filed": len(filed),
                             "lived_s": round(lived_s, 3), "lost_s": round(lost_s, 3)})
                bar.update()
            whole(store, reference)
            keep(rows)
    return pd.DataFrame(rows)


def live_with(engine: str, path: str, address: str) -> None:
    "A sweep in two processes, or on a cluster, until it is done or ended."
    sys.stderr = open(os.devnull, "w")  # it is told when a process was ended
    tqdm.set_lock(threading.RLock())
    torch.set_num_threads(2 if engine == "processes" else 1)  # as many processes, each of one thread
    store, more = RunStore(path), {"cluster": Cluster(address=address, threads=1)} if engine == "ray" else {}
    sweep(GROUPS, store, engine, run=partial(trained, store), show=False, **more)


def filed_at(file: Path) -> float:
    "Seconds, by the clock; 0 for a file that is not there."
    try: return file.stat().st_mtime
    except FileNotFoundError: return 0.


def unfiled_s(store: RunStore, begun: float) -> float:
    """The longest that a group may have been trained without a filing, of those that processes work on; of
    one that has filed nothing, all the time of this driver."""
    leased = {path.name for path in (store.path / ".leases").glob("*")}
    states = [store.checkpoint(g) / FILE for g in GROUPS if g.cell in leased]
    return max((time.time() - max(begun, filed_at(state)) for state in states), default=0.)


class Nodes:
    "A Ray cluster of two nodes on this machine, the second of which may be ended and is started again."
    def __init__(self):
        from test_cluster import ENV, answers, start_node, until  # which needs Ray
        os.environ.update(ENV)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.start = partial(start_node, "--address", self.address, "--num-cpus", "1")
        self.head = start_node("--head", "--port", self.address.split(":")[1], "--num-cpus", "1",
                               "--include-dashboard=false")
        until(lambda: self.head.poll() is not None or answers(self.address), 120)
        assert self.head.poll() is None, "ray start --head failed: the machine may be too busy"
        self.second = self.start()

    def mend(self) -> None:
        if self.second.poll() is not None: self.second = self.start()

    def end(self) -> None:
        for node in (self.second, self.head):
            node.terminate()
            node.wait()


def victims(who: str, driver: int, nodes: Nodes | None) -> list[psutil.Process]:
    "Processes that a blow may end."
    if who == "driver": return [psutil.Process(driver)]
    if not nodes:
        return [p for p in psutil.Process(driver).children() if "spawn_main" in " ".join(p.cmdline())]
    below = [p for node in (nodes.head, nodes.second) for p in psutil.Process(node.pid).children(True)]
    if who == "worker": return [p for p in below if p.name().startswith("ray::own_process")]
    return [p for p in psutil.Process(nodes.second.pid).children(True) if p.name() == "raylet"]


def struck(life, who: str, draw: random.Random, store: RunStore, nodes: Nodes | None) -> bool:
    "Wait until something was filed, and up to 3 s more, and end a process; whether there was one."
    files = lambda: [*store.path.glob("[!.]*/*.json"), *(store.path / EPOCHS).rglob(FILE)]
    newest = lambda: max(map(filed_at, files()), default=0.)
    before = newest()
    while life.is_alive() and newest() == before: time.sleep(.02)
    life.join(draw.uniform(0, 3))
    if not life.is_alive(): return False
    try:
        if found := victims(who, life.pid, nodes): draw.choice(found).kill()
        return bool(found)
    except psutil.NoSuchProcess: return False


def chaos_with(engine: str, kills: int, seed: int, folder: Path, show: bool = False,
               keep: Callable[[list[dict]], None] = id) -> pd.DataFrame:
    "As `chaos`, for a sweep in several processes: processes, or ray."
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "tests"), str(ROOT)])
    PROCESSES.set_forkserver_preload(["chaos"])
    draw, reference, rows, sweeps = random.Random(seed), RunStore(folder / "undisturbed"), [], 0
    assert started(reference.path)[0] == 0
    nodes = Nodes() if engine == "ray" else None
    try:
        with tqdm(total=kills, disable=not show, unit=" blows", mininterval=10) as bar:
            while len(rows) < kills:
                store, code = RunStore(folder / f"sweep {(sweeps := sweeps + 1)}"), None
                while code != 0:
                    if nodes: nodes.mend()
                    life = PROCESSES.Process(target=live_with,
                                             args=(engine, str(store.path), nodes.address if nodes else ""))
                    begun, before = time.time(), len(rows)
                    life.start()
                    while life.is_alive() and len(rows) < kills:
                        who = draw.choice(["driver", "worker"] + ["raylet"] * bool(nodes))
                        if not struck(life, who, draw, store, nodes): continue
                        rows.append({"blow": len(rows) + 1, "sweep": sweeps, "process": who,
                                     "groups_done": len(store.folders()),
                                     "lived_s": round(time.time() - begun, 3),
                                     "lost_s": round(unfiled_s(store, begun), 3)})
                        bar.update()
                        life.join(1)
                        if nodes: nodes.mend()
                    life.join()
                    code = life.exitcode
                    assert code == 0 or len(rows) > before, f"undisturbed, a sweep ended with {code}"
                # a process whose driver was ended may file an epoch once more; the next sweep takes it away
                time.sleep(2)
                store.tidy()
                whole(store, reference)
                keep(rows)
    finally:
        if nodes: nodes.end()
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=" ".join(__doc__.split("\n\n")[0].split()))
    parser.add_argument("--kills", type=int, default=200, help="blows that end a process (200)")
    parser.add_argument("--seed", type=int, default=0, help="of where they fall (0)")
    parser.add_argument("--engine", choices=ENGINES, default="local", help="where groups run (local)")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "chaos.csv", help="the log")
    asked = parser.parse_args()
    run = chaos if asked.engine == "local" else partial(chaos_with, asked.engine)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    keep = lambda rows: pd.DataFrame(rows).to_csv(asked.out, index=False) # a run of hours may be ended itself
    with TemporaryDirectory() as folder: log = run(asked.kills, asked.seed, Path(folder), True, keep)
    keep(log.to_dict("records"))
    print(f"{len(log)} blows in {log.sweep.max()} sweeps of {len(GROUPS)} groups: each ended with the rows, "
          f"histories, abundances and logits of an undisturbed one. A blow cost {log.lost_s.mean():.2f} s of "
          f"work, the start of the process included, at most {log.lost_s.max():.2f}. The log: {asked.out}.")


if __name__ == "__main__":
    import chaos as importable  # by the processes that this one starts
    importable.main()
