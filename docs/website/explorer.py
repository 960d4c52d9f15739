"The explorer's data: cells with intervals, the paper's cells and abundance by field, out of data/results."
import json
import math
import tomllib
from pathlib import Path

import pandas as pd

from collapse_nb import results, stats
from collapse_nb.findings import mean_interval
from website.gallery import ROOT
from website.missing import missing

ROWS = ROOT / "data" / "results"
# columns of a runs table
RUNS = {"test_auc": "test AUC", "valid_auc": "validation AUC", "test_logloss_nats": "test logloss"}
CELL = ["model", "design", "scale"]
# table -> its columns
OF_FIELDS = ["scale", "seed", "field", "cardinality", "ia"]
NEEDED = {"runs": [*CELL, "dataset", "variant", "seed", "status", *RUNS],
          "abundance": ["model", "table", *OF_FIELDS], "sets-abundance": ["design", "set", *OF_FIELDS]}


def read(stem: str) -> pd.DataFrame | None:
    "A stored table; None when it is not there, or lacks what the explorer takes."
    return missing.rows(ROWS / f"{stem}.csv", NEEDED[stem.rpartition("-")[0]], optional=True)

def records(frame: pd.DataFrame) -> list[dict]:
    "Rows for JSON: numbers to six digits, none that JSON lacks."
    def plain(value: object) -> object:
        if not isinstance(value, float): return value
        return None if math.isnan(value) else round(value, 6)
    return [{name: plain(value) for name, value in row.items()} for row in frame.to_dict("records")]


def cells(runs: pd.DataFrame) -> pd.DataFrame:
    "A row per metric and cell, with the 95 % interval of its own seeds; gains are taken within each seed."
    columns, tables = [*CELL, "mean", "low", "high", "n", "failed"], []
    for metric in RUNS:
        means = stats.cells(runs.assign(test_auc=runs[metric]))
        tables.append(means[columns].assign(metric=metric))
        if metric == "test_auc":
            gains = means[[*CELL, "gain", "gain_low", "gain_high", "n", "failed"]]
            tables.append(gains.set_axis(columns, axis=1).assign(metric="gain"))
    return pd.concat(tables)


def by_seed(dataset: str) -> pd.DataFrame | None:
    "Information abundance of each field in each run: SE of all sizes, and ME's sets side by side."
    wide, sets = read(f"abundance-{dataset}"), read(f"sets-abundance-{dataset}")
    designs = {"learned": "SE", "random": "random"}
    parts = [] if wide is None else [wide.assign(design=wide["table"].map(designs))]
    if sets is not None:
        parts.append(sets[(sets["set"] == "all") & (sets["design"] == "ME")].assign(model="DCNv2"))
    if not parts: return None
    return pd.concat(parts)[[*CELL, "seed", "field", "cardinality", "ia"]].reset_index(drop=True)

def abundance(rows: pd.DataFrame) -> pd.DataFrame:
    "A row per cell and field, with the 95 % interval over seeds."
    cells = []
    groups = rows.groupby([*CELL, "field", "cardinality"], sort=False)
    for (model, design, scale, field, size), part in groups:
        mean, low, high = mean_interval(part["ia"])
        cells.append({"model": model, "design": design, "scale": int(scale), "field": field,
                      "cardinality": int(size), "mean": float(mean), "low": float(low), "high": float(high),
                      "n": len(part)})
    return pd.DataFrame(cells)

def mean_abundance(rows: pd.DataFrame) -> pd.DataFrame:
    "The mean over fields of each cell, with its interval over seeds."
    seeds = rows[rows["design"] != "random"].groupby([*CELL, "seed"], sort=False)["ia"].mean().reset_index()
    means = stats.cells(seeds.assign(dataset="", variant="", status="done", test_auc=seeds["ia"]))
    return means[[*CELL, "mean", "low", "high", "n", "failed"]].assign(metric="ia")


def published(dataset: str) -> pd.DataFrame:
    "The paper's cells, as they are and as gains over the base; each interval from the cell's own three runs."
    theirs = results.published(dataset)
    low, high = stats.interval(theirs["mean"], theirs["sd"] / theirs["n"] ** .5, theirs["n"] - 1)
    whole = theirs[[*CELL, "mean", "sd", "n"]].assign(low=low, high=high, metric="test_auc")
    base = whole["model"].map(whole[whole["scale"] == 1].set_index("model")["mean"]).astype(float)
    return pd.concat([whole, whole.assign(mean=whole["mean"] - base, low=float("nan"), high=float("nan"),
                                          metric="gain")])


def dataset(name: str) -> dict:
    "All that the explorer shows of one dataset."
    runs, ia = read(f"runs-{name}"), by_seed(name)
    card = ROOT / "data" / f"{name}.toml"
    tables = [] if runs is None else [cells(runs)]
    if ia is not None: tables.append(mean_abundance(ia))
    return {"title": tomllib.loads(card.read_text(encoding="utf-8"))["title"] if card.is_file() else name,
            "cells": records(pd.concat(tables)) if tables else [], "paper": records(published(name)),
            "fields": records(abundance(ia)) if ia is not None else []}


def write(file: Path, page: Path) -> None:
    """Writes the data as a script, which a page opened from a file may load too; the page says which datasets
    it lacks."""
    names = sorted({f.stem.removeprefix("runs-") for f in ROWS.glob("runs-*.csv")},
                   key=lambda n: (n == "synthetic", n))
    made = {name: missing.made(f"explorer, {name}", lambda name=name: dataset(name))
            for name in dict.fromkeys([*names, "criteo", "avazu"])}
    data = {name: all_of_it for name, all_of_it in made.items() if all_of_it}
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    file.write_text(f"window.explorerData={text}\n", encoding="utf-8")
    places = [f"explorer, {name}" for name in made]
    places += [ROWS / f"{stem}-{name}.csv" for name in made for stem in NEEDED]
    if notices := [said for place in places if (said := missing.notice(place))]:
        head, rest = page.read_text(encoding="utf-8").split("\n", 1)
        page.write_text("\n\n".join([head, *notices, rest.lstrip("\n")]), encoding="utf-8")
