"""Made-up clicks, and `expected.json`: what is known of a specimen because it was made here.

The makers run in environments of their own, with no more than numpy in common.
"""
import json
import sys
from pathlib import Path

import numpy as np

USERS, ITEMS, CITIES = 60, 40, 12 # ids of each field
UNSEEN = {"user": range(55, 60), "item": range(37, 40)} # ids that no row has


def clicks(rows: int = 512, seed: int = 0) -> dict[str, np.ndarray]:
    """Rows of clicks: ids skewed as they are in logs, some cities missing (empty), some histories short.

    `item` and `last_item` are ids of one kind, and so are the four of `history` (0 is "none": ids begin at 1
    there). The last ids of `user` and `item` occur in no row."""
    random = np.random.default_rng(seed)
    skewed = lambda most: np.minimum(random.zipf(1.3, rows) - 1, random.integers(0, most, rows))
    user, item = skewed(UNSEEN["user"][0]), skewed(UNSEEN["item"][0])
    last_item, city = skewed(UNSEEN["item"][0]), skewed(CITIES)
    history = np.stack([skewed(UNSEEN["item"][0]) + 1 for _ in range(4)], 1)
    history[np.arange(4) >= random.integers(1, 5, rows)[:, None]] = 0
    price = random.normal(size=rows).astype(np.float32)
    taste, kind = random.normal(size=(USERS, 3)), random.normal(size=(ITEMS, 3))
    logit = (taste[user] * kind[item]).sum(1) + .5 * price + (last_item == item)
    label = (random.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    return {"user": user, "item": item, "last_item": last_item, "history": history, "price": price,
            "city": np.array([f"city {c}" if c % 5 else "" for c in city]), "label": label}


def table(
    name: str,
    weight: object,               # (D, K), as the live model has it
    padding: list[int] = (),      # rows that stand for no id
    oov: list[int] = (),          # rows for all ids that are not in the vocabulary
    never_trained: list[int] = (),
    bias_columns: list[int] = (), # columns that are a constant or a bias, not a direction
    **more: object,               # other facts, as they are
) -> dict:
    """What is known of one table: `dim` counts the columns that vary; singular values are numpy's, in
    float64, without the bias columns."""
    weight = np.asarray(weight, np.float64)
    kept = np.delete(weight, list(bias_columns), 1)
    known = {"name": name, "rows": len(weight), "dim": int((np.ptp(weight, 0) > 0).sum()),
             "padding": list(padding), "oov": list(oov), "never_trained": list(map(int, never_trained)),
             "bias_columns": list(bias_columns), "sum": float(weight.sum())}
    return known | more | {"singular_values": np.linalg.svd(kept, compute_uv=False).tolist()}


def role(key: str, value: object) -> str:
    "Of what is neither a table nor looks like one: the weights of a layer, or a bias, a statistic, a number."
    return "dense layer" if value.ndim >= 2 and "bias" not in key else "other"


def expect(
    folder: Path,
    files: dict[str, dict], # file -> {"package": …, "tables": {key: table()}, "others": {key: role}}
) -> None:
    "Writes `expected.json` beside the specimens."
    (folder / "expected.json").write_text(json.dumps(files, indent=1) + "\n")


def arguments() -> tuple[Path, Path]:
    "The folder of what is kept, and one for what is not."
    kept, scratch = map(Path, sys.argv[1:3])
    return kept, scratch
