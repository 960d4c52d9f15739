"""Plan the paper's whole grid, 324 runs on Criteo and Avazu: memory, hours, and the schedule on 64 workers.

    .venv/bin/python docs/grid_plan.py        # writes data/results/grid-plan.csv; then docs/figures.py

Each group is timed by a few steps on made-up rows with the published fields, on the processor that is here,
one thread a group; its epochs are what a run usually takes. A group that is timed stays so, and the script
goes on where it was ended.
"""
import argparse
from pathlib import Path

import pandas as pd

from collapse_nb.data.dataset import Encoded
from collapse_nb.nn.zoo import MULTI
from collapse_nb.records import InputError
from collapse_nb.results import save_table
from collapse_nb.train.cluster import own_process
from collapse_nb.train.memory import needed_bytes
from collapse_nb.train.recipe import recipe_for
from collapse_nb.train.runs import Group
from collapse_nb.train.schedule import EPOCHS_EXPECTED, durations, forecast, schedule, stand_in
from collapse_nb.train.sweep import grid

ROOT = Path(__file__).resolve().parents[1]
SCALES, SEEDS, WORKERS = (1, 2, 3, 4, 10), 3, (1, 8, 64)


def unplanned(group: Group, data: Encoded) -> pd.DataFrame:
    "The row of a group that cannot be timed here: its memory, and no hours."
    gb = needed_bytes(group.spec, data.schema, len(group.seeds), group.recipe.optimizer) / 1e9
    spec = group.spec
    return pd.DataFrame([{"dataset": group.dataset, "cell": group.cell, "model": spec.model,
                          "design": spec.design, "scale": spec.scale, "seeds": len(group.seeds), "gb": gb}])

def forecasts(cards: list[str], models: list[str], scales: list[int], kept: Path) -> pd.DataFrame:
    "A row per group, timed one by one; those in `kept` are not timed again."
    plan = pd.read_csv(kept) if kept.is_file() else pd.DataFrame(columns=["dataset", "cell"])
    for card in cards:
        data, full = stand_in(card)
        for spec in grid(models, ("SE", "ME"), scales):
            group = Group(dataset=data.name, fingerprint=data.fingerprint, spec=spec, seeds=range(SEEDS),
                          recipe=recipe_for(card))
            if ((plan.dataset == group.dataset) & (plan.cell == group.cell)).any(): continue
            # a process for each, because memory that one has had is not given back
            try: row = own_process(forecast, [group], data, "cpu", EPOCHS_EXPECTED, full, threads=1,
                                   device="cpu")
            except InputError: row = unplanned(group, data) # too large for the memory that is here
            plan = pd.concat([plan, row], ignore_index=True) if len(plan) else row
            kept.parent.mkdir(parents=True, exist_ok=True)
            plan.to_csv(kept, index=False)
            print(row.drop(columns="cell").to_string(header=False, index=False), flush=True)
    return plan.sort_values("hours", ascending=False, ignore_index=True)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--cards", default="criteo,avazu")
    asked.add_argument("--models", default=",".join(MULTI))
    asked.add_argument("--scales", default=",".join(map(str, SCALES)))
    asked.add_argument("--out", type=Path, default=ROOT / "data" / "results" / "grid-plan.csv")
    given = asked.parse_args()
    kept = ROOT / "runs" / "grid-plan" / "timed.csv"
    scales = list(map(int, given.scales.split(",")))
    plan = forecasts(given.cards.split(","), given.models.split(","), scales, kept)
    whole, plan = plan, plan.dropna(subset="hours").reset_index(drop=True)
    bars = schedule(plan.hours, WORKERS[-1]).set_index("job").sort_index()
    rows = pd.concat([plan.join(bars), whole[whole.hours.isna()]], ignore_index=True)
    save_table(rows.drop(columns="cell"), given.out.stem, given.out.parent)
    print(f"{len(plan)} groups, {plan.seeds.sum()} runs, {plan.hours.sum():.4g} h of work; one more seed of "
          f"every cell {plan.hours_a_seed.sum():.4g} h; the largest group takes {plan.gb.max():.3g} GB")
    print(durations(plan, WORKERS).to_string(index=False))
    if len(whole) > len(plan):
        print(f"not planned, for lack of memory here: {len(whole) - len(plan)} groups of "
              f"up to {whole[whole.hours.isna()].gb.max():.3g} GB")


if __name__ == "__main__": main()
