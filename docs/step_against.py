"""A training step of this code against that of an earlier commit, step for step in one process.

    .venv/bin/python docs/step_against.py 11d783b --threads 1   # adds to data/results/step-against.csv
    .venv/bin/python docs/step_against.py 11d783b --threads 2
    .venv/bin/python docs/step_against.py 11d783b --replicas 5
    .venv/bin/python docs/step_against.py 11d783b --variant released

Both begin with the same weights and take the same batches of an encoded table, hflights if nothing else is
said (`collapse encode hflights`); they take turns, and who goes first changes from pair to pair. A row per
cell: the median of old over new, its quartiles, both medians, what share of the new step its matrix products
take, and the ratio that there would be if all else took no time. The machine should have nothing else to do.
Rows of the same commit, table, threads, replicas, variant, pages and number of pairs are replaced. The
profiler's own time counts as not products, so that *at most* is a little high.
"""
import argparse
import importlib
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

from collapse_nb.allocation import keep_freed_memory
from collapse_nb.data.encode import open_encoded
from collapse_nb.nn.zoo import MULTI
from collapse_nb.records import InputError
from collapse_nb.results import read_table, save_table
from collapse_nb.train.runs import surroundings

ROOT = Path(__file__).resolve().parents[1]
CELLS = [(model, design, scale) for model in MULTI for design, scale in (("SE", 1), ("SE", 4), ("ME", 4))]
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "_linear_pointwise")
SAME = ["against", "dataset", "threads", "replicas", "variant", "huge_pages", "pairs"]


def git(*words: str) -> str:
    "What git says, or its reason as the end of this."
    done = subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True)
    if done.returncode: raise InputError(f"git {words[0]}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip()


def package_at(commit: str, place: Path) -> str:
    "The library of a commit under a name of its own."
    git("worktree", "add", "--force", "--detach", str(place), commit)
    folder = place / "collapse_nb"
    spec = importlib.util.spec_from_file_location("earlier_nb", folder / "__init__.py",
                                                  submodule_search_locations=[str(folder)])
    sys.modules["earlier_nb"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return "earlier_nb"


def step_of(package: str, cell: tuple, schema, replicas: int, variant: str):
    "One training step of a new model, by the code of a package."
    part = lambda name: importlib.import_module(f"{package}.{name}")
    zoo = part("nn.zoo")
    spec = zoo.ModelSpec(*cell, variant)
    model = zoo.build(spec, zoo.FieldSchema(schema.names, schema.cardinalities), replicas).train()
    return part("train.step").Step(model, part("train.recipe").Recipe())


def share_of_products(step, batches: list) -> float:
    "Of a step's time, by torch's profiler."
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for batch in batches: step(*batch)
    spent = {event.key: event.self_cpu_time_total for event in seen.key_averages()}
    return sum(t for key, t in spent.items() if key.split("::")[-1] in PRODUCTS) / sum(spent.values())


def raced(cell: tuple, schema, batches: list, pairs: int, replicas: int, variant: str) -> dict:
    steps = [step_of(package, cell, schema, replicas, variant) for package in ("earlier_nb", "collapse_nb")]
    steps[1].model.load_state_dict(steps[0].model.state_dict())
    for batch in batches[:3]:
        for step in steps: step(*batch)
    taken = np.empty((pairs, 2))
    for pair in range(pairs):
        for which in (0, 1) if pair % 2 else (1, 0):
            begun = time.perf_counter()
            steps[which](*batches[pair % len(batches)])
            taken[pair, which] = 1e3 * (time.perf_counter() - begun)
    low, ratio, high = np.quantile(taken[:, 0] / taken[:, 1], [.25, .5, .75])
    earlier_ms, now_ms = np.median(taken, 0)
    share = share_of_products(steps[1], batches[:5])
    model, design, scale = cell
    return dict(model=model, design=design, scale=scale, low=low, ratio=ratio, high=high,
                earlier_ms=earlier_ms, now_ms=now_ms, products_share=share,
                at_most=earlier_ms / (share * now_ms))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("commit", help="the earlier one")
    asked.add_argument("--threads", type=int, default=1)
    asked.add_argument("--replicas", type=int, default=1)
    asked.add_argument("--variant", default="paper", choices=("paper", "released"))
    asked.add_argument("--pairs", type=int, default=21)
    asked.add_argument("--encoded", type=Path, help="an encoded folder; of hflights if left out")
    asked.add_argument("--out", type=Path, default=ROOT / "data" / "results" / "step-against.csv")
    given = asked.parse_args()
    found = sorted((ROOT / "data" / "encoded").glob("hflights-*"))
    if not (given.encoded or found): raise InputError("no encoded hflights: collapse encode hflights first.")
    for name in ("threads", "replicas", "pairs"):
        if (number := getattr(given, name)) < 1: raise InputError(f"--{name} {number}: give 1 or more.")
    commit = git("rev-parse", "--short=7", given.commit)
    torch.set_num_threads(given.threads)
    keep_freed_memory() # as `fit` does
    data = open_encoded(given.encoded or found[0])
    rows = [(torch.as_tensor(data.train.x[at:at + 2048]), torch.as_tensor(data.train.y[at:at + 2048]))
            for at in range(0, min(16 * 2048, len(data.train) - 2047), 2048)]
    if len(rows) < 3: raise InputError(f"{data.name} has {len(data.train):,} training rows: give 6,144.")
    about = surroundings(torch.device("cpu"))
    same = dict(against=f"g{commit}", dataset=data.name, threads=given.threads, replicas=given.replicas,
                variant=given.variant, pairs=given.pairs,
                huge_pages=os.environ.get("THP_MEM_ALLOC_ENABLE") == "1")
    with tempfile.TemporaryDirectory() as place:
        package_at(commit, Path(place) / "earlier")
        try:
            table = pd.DataFrame([same | raced(cell, data.schema, rows, given.pairs, given.replicas,
                                               given.variant) for cell in tqdm(CELLS, unit=" cell")])
        finally: git("worktree", "remove", "--force", str(Path(place) / "earlier"))
    table = table.assign(commit=f"g{about['commit'][:10]}{about['commit'][40:]}")
    print(table[["model", "design", "scale", "low", "ratio", "high", "products_share", "at_most"]].round(2)
          .to_string(index=False))
    print(f"geometric mean {statistics.geometric_mean(table.ratio):.3f}, least {table.ratio.min():.2f}; mean "
          "by model " + ", ".join(f"{m} {r:.2f}" for m, r in table.groupby("model", sort=False).ratio.mean()
                                  .items()))
    try: earlier = read_table(given.out.stem, given.out.parent)
    except InputError: earlier = table[:0]
    others = (earlier[SAME] != table[SAME].iloc[0]).any(axis=1)
    save_table(pd.concat([earlier[others], table], ignore_index=True), given.out.stem, given.out.parent)


if __name__ == "__main__":
    try: main()
    except InputError as err: raise SystemExit(f"step_against: {err}") from None
