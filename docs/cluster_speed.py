"""What a sweep gains by two workers of a Ray cluster on this machine, beside one process and two.

    .venv/bin/python docs/cluster_speed.py                # adds to data/results/cluster-speed.csv
    .venv/bin/python docs/cluster_speed.py --epochs 4     # the same with groups twice as long
    .venv/bin/python docs/cluster_speed.py --rows 4096 --epochs 1 --out elsewhere.csv   # does it run at all

The same 24 groups, one thread each, three ways and in turn: one process; two processes that share a store
by leases; a sweep with `engine="ray"` on two workers. Starting Ray is timed apart. The overhead of a group
is what Ray's two workers take longer than the two processes, by group and worker. The machine should have
nothing else to do, and two cores.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from collapse_nb.data.cards import load_card
from collapse_nb.data.encode import encode
from collapse_nb.data.made_up.synthetic import synthetic
from collapse_nb.data.source import open_source
from collapse_nb.results import save_table
from collapse_nb.train.cluster import Cluster
from collapse_nb.train.recipe import Recipe
from collapse_nb.train.runs import Group, RunStore
from collapse_nb.train.sweep import grid, sweep

ROOT = Path(__file__).resolve().parents[1]
MODELS, SCALES, SEEDS = ("DNN", "DCNv2", "NFwFM", "IPNN"), (1, 2, 4), (0, 1) # 20 cells; four have more seeds


def written(folder: Path, rows: int) -> None:
    "Made-up clicks as an encoded folder, which every process opens in no time."
    data = synthetic(rows=rows)
    parts = (data.train, data.valid, data.test)
    table = pd.DataFrame(np.concatenate([part.x for part in parts]), columns=data.schema.names)
    table["clicked"] = np.concatenate([part.y for part in parts])
    table.to_csv(folder / "clicks.csv", index=False)
    names = ", ".join(f'"{name}"' for name in data.schema.names)
    card = f'name = "clicks"\nlabel = "clicked"\nfields = [{names}]\nmin_count = 2\n'
    (folder / "clicks.toml").write_text(card)
    encode(load_card(str(folder / "clicks.toml")), folder / "clicks.csv", folder / "encoded")

def groups(folder: Path, epochs: int) -> list[Group]:
    origin = (str(folder / "clicks.toml"), str(folder / "encoded"), 0)
    data = open_source(*origin)
    cells = [(spec, SEEDS) for spec in grid(MODELS, ("SE", "ME"), SCALES)]
    cells += [(spec, (2, 3)) for spec in grid(MODELS, ("SE",), (1,))]
    recipe = Recipe(max_epochs=epochs, patience=epochs)
    return [Group(dataset=data.name, fingerprint=data.fingerprint, spec=spec, seeds=seeds, recipe=recipe,
                  origin=origin) for spec, seeds in cells]

def idle_mb() -> float:
    "Memory of a worker of Ray that waits, in MB that no other process shares."
    ours = psutil.Process().children(recursive=True)
    waiting = [p.memory_full_info().uss for p in ours if p.name().startswith("ray::IDLE")]
    return sum(waiting) / max(len(waiting), 1) / 1e6

def timed(engine: str, folder: Path, store: Path, epochs: int) -> dict[str, float]:
    "One sweep, in this process."
    begun, seconds = time.perf_counter(), {}
    if engine == "ray":
        import ray
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        seconds["start_s"] = time.perf_counter() - begun
    wanted, begun = groups(folder, epochs), time.perf_counter()
    cluster = Cluster(threads=1) if engine == "ray" else None
    sweep(wanted, RunStore(store), engine, cluster=cluster, show=False)
    seconds["sweep_s"] = time.perf_counter() - begun
    if engine == "ray": seconds["idle_worker_mb"] = idle_mb()
    return seconds

def in_processes(engine: str, number: int, folder: Path, epochs: int) -> dict[str, float]:
    "The sweep in so many processes at once, on one store of their own; the slowest counts."
    store = folder / f"{engine}-{number}"
    command = [sys.executable, __file__, "--one", engine, "--folder", folder, "--out", store,
               "--epochs", str(epochs)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    running = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(number)]
    told = [dict(word.split("=") for word in process.communicate()[0].splitlines()[-1].split())
            for process in running]
    rows = len(RunStore(store).frame())
    assert rows == 2 * len(groups(folder, epochs)), f"{rows} rows"
    return {name: max(float(one[name]) for one in told) for name in told[0]}

def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--rows", type=int, default=200_000)
    asked.add_argument("--epochs", type=int, default=2)
    asked.add_argument("--out", type=Path, default=ROOT / "data" / "results" / "cluster-speed.csv")
    asked.add_argument("--one", help=argparse.SUPPRESS)
    asked.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.one:
        seconds = timed(given.one, given.folder, given.out, given.epochs)
        return print(" ".join(f"{name}={value}" for name, value in seconds.items()))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        written(folder, given.rows)
        number = len(groups(folder, given.epochs))
        rows = [{"way": way, "groups": number, "rows": given.rows, "epochs": given.epochs, "threads": 1,
                 **in_processes(engine, processes, folder, given.epochs)}
                for way, engine, processes in (("one process", "local", 1), ("two processes", "local", 2),
                                               ("two workers of Ray", "ray", 1))]
    table = pd.DataFrame(rows)
    table["times_as_fast"] = table.sweep_s[0] / table.sweep_s
    table["overhead_s"] = [np.nan, np.nan, 2 * (table.sweep_s[2] - table.sweep_s[1]) / number]
    if given.out.is_file(): # those of another size stay
        there = pd.read_csv(given.out)
        of_this = (there["rows"] == given.rows) & (there["epochs"] == given.epochs)
        table = pd.concat([there[~of_this], table]).sort_values("epochs", kind="stable")
    save_table(table, given.out.stem, given.out.parent)
    print(table.to_string(index=False))


if __name__ == "__main__": main()
