"""How long a store of 10,000 finished groups takes to open, and the table of all its runs to be made.

    .venv/bin/python docs/store_speed.py                # writes data/results/store-speed.csv
    .venv/bin/python docs/store_speed.py --groups 100 --out elsewhere.csv

One small group is trained; under other seeds it is filed again and again, as a sweep files it. Each reading
is by a process of its own, whose start is not counted. The machine should have nothing else to do.
"""
import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from collapse_nb.data.made_up.synthetic import synthetic
from collapse_nb.nn.zoo import ModelSpec
from collapse_nb.results import save_table
from collapse_nb.train.recipe import Recipe
from collapse_nb.train.runs import Group, RunStore, StoredRuns
from collapse_nb.train.sweep import run_group

ROOT = Path(__file__).resolve().parents[1]
READINGS = {"groups()": lambda store: store.groups(), "frame()": lambda store: store.frame()}


def filed(folder: Path, number: int) -> None:
    "So many groups, of which one was trained."
    data, store = synthetic(rows=1000), RunStore(folder)
    group = Group(dataset=data.name, fingerprint=data.fingerprint, seeds=(0,), recipe=Recipe(max_epochs=1),
                  spec=ModelSpec("DNN", hidden=8))
    result, extra = run_group(group, data, "cpu", show=False)
    for seed in tqdm(range(number), "groups"):
        renamed = {name: getattr(result, name).assign(seed=seed) for name in ("frame", "history")}
        store.save(group.with_seeds((seed,)), replace(result, **renamed), extra)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--groups", type=int, default=10_000)
    asked.add_argument("--times", type=int, default=5)
    asked.add_argument("--out", type=Path, default=ROOT / "data" / "results" / "store-speed.csv")
    asked.add_argument("--read", nargs=2, metavar=("WHAT", "STORE"), help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.read:
        begun = time.perf_counter()
        READINGS[given.read[0]](StoredRuns(given.read[1]))
        return print(time.perf_counter() - begun)
    with tempfile.TemporaryDirectory() as folder:
        filed(Path(folder), given.groups)
        rows = []
        for what in READINGS:
            seconds = [float(subprocess.run([sys.executable, __file__, "--read", what, folder], check=True,
                                            stdout=subprocess.PIPE, text=True).stdout)
                       for _ in range(given.times)]
            rows.append({"what": what, "groups": given.groups, "times": given.times,
                         "seconds": np.median(seconds), "low": min(seconds), "high": max(seconds)})
    table = pd.DataFrame(rows)
    save_table(table, given.out.stem, given.out.parent)
    print(table.to_string(index=False))


if __name__ == "__main__": main()
