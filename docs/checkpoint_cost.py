"""What filing an epoch costs, beside the epoch: models with Criteo's tables, at three sizes.

    .venv/bin/python docs/checkpoint_cost.py           # writes data/results/checkpoint-cost.csv

A checkpoint is weights, both averages of Adam, the best epoch's weights and the rest, so that it is as large
as four models. Each is filed several times into a temporary folder; an epoch is that of Criteo's published
rows, as `--plan` expects it from a few steps. `TMPDIR` says on which disk; the largest needs 4 GB there.
"""
import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from collapse_nb.nn.zoo import ModelSpec, build
from collapse_nb.results import save_table
from collapse_nb.train.epochs import EpochCheckpoint
from collapse_nb.train.fit import Progress
from collapse_nb.train.recipe import Recipe, recipe_for
from collapse_nb.train.runs import Group
from collapse_nb.train.schedule import forecast, stand_in
from collapse_nb.train.step import Step

ROOT = Path(__file__).resolve().parents[1]


def filed(spec: ModelSpec, times: int) -> tuple[float, list[float]]: # GB, seconds of each filing
    data, _ = stand_in("criteo")
    step = Step(build(spec, data.schema).train(), Recipe())
    rows = slice(0, Recipe().batch_size)
    step(torch.as_tensor(data.train.x[rows]), torch.as_tensor(data.train.y[rows]))
    with tempfile.TemporaryDirectory() as place:
        kept, seconds = EpochCheckpoint(Path(place) / "one", {}, every_s=0), []
        progress = Progress(step.model, patience=1)
        progress.update(0, epoch=1, valid_auc=.7)
        for _ in range(times):
            begun = time.perf_counter()
            kept.keep(step, progress, [])
            seconds.append(time.perf_counter() - begun)
        return kept.file.stat().st_size / 1e9, seconds


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--times", type=int, default=5)
    asked.add_argument("--scales", default="1,4,10")
    asked.add_argument("--out", type=Path, default=ROOT / "data" / "results" / "checkpoint-cost.csv")
    given = asked.parse_args()
    data, full = stand_in("criteo")
    rows = []
    for scale in map(int, given.scales.split(",")):
        spec = ModelSpec("DCNv2", "ME" if scale > 1 else "SE", scale)
        group = Group(dataset=data.name, fingerprint=data.fingerprint, spec=spec, seeds=(0,),
                      recipe=recipe_for("criteo"))
        epoch_s = forecast([group], data, "cpu", full_rows=full).epoch_s[0]
        gb, seconds = filed(spec, given.times)
        rows.append({"model": spec.model, "design": spec.design, "scale": scale, "gb": gb,
                     "filing_s": np.median(seconds), "low_s": min(seconds), "high_s": max(seconds),
                     "times": given.times, "epoch_s": epoch_s, "share": np.median(seconds) / epoch_s})
        print(rows[-1], flush=True)
    save_table(pd.DataFrame(rows), given.out.stem, given.out.parent)


if __name__ == "__main__": main()
