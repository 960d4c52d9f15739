"""Replay every primary verdict: run the notebook that it is of again, with as many seeds that no stored run
has, and keep what it finds (data/results/replays.csv).

    .venv/bin/python docs/replays.py --file hflights=hflights.csv.gz
    .venv/bin/python docs/replays.py --only "18 insteval" --file insteval=insteval.csv.gz

A notebook's primary claim is fixed before looking. Where its verdict on a table is *holds* or *does not
hold*, the notebook is replayed on it, and all its findings are kept. What is kept is not run again,
wherever it was run; trained models are kept in runs/replay/primary: killed at any instant and started
again, it trains what is missing. A table whose file is not given, and a notebook that fails, are left out
with a sentence, and the rest goes on.
"""
import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from register import POOLED, REPLAYED, stored_findings, stored_replays
from results import RESULTS, ROOT, note

from collapse_nb.records import InputError, unknown
from collapse_nb.replay import execute, findings_again, reruns
from collapse_nb.results import read_table, save_table

OUT = ROOT / "runs" / "replay" / "primary"
COUNTED = "00" # counts and draws nothing


def primary(findings: pd.DataFrame) -> pd.DataFrame:
    "The first finding of each notebook on each table, where it was settled, in their order."
    first = findings.drop_duplicates(["number", "dataset"])
    settled = first["verdict"].isin(["holds", "does not hold"])
    return first[settled & (first["number"] != COUNTED) & (first["dataset"] != POOLED)]


def main(
    file: Annotated[list[str], typer.Option(help="TABLE=FILE, raw or encoded, as often as there are tables.")] = [],  # noqa: B006,E501
    only: Annotated[list[str], typer.Option(help="A notebook's number and a table, such as '18 insteval'; "
                                                 "else all.")] = [],  # noqa: B006
    out: Annotated[Path, typer.Option(help="Folder of the replays.")] = OUT,
    results: Annotated[Path, typer.Option(help="Folder of stored rows.")] = RESULTS,
) -> None:
    "Make or resume the replays."
    if wrong := [w for w in file if "=" not in w]:
        raise typer.BadParameter(f"{wrong[0]!r} was given: name tables as TABLE=FILE.")
    files = dict(w.split("=", 1) for w in file)
    wanted = [tuple(row) for row in primary(stored_findings(results))[["number", "dataset"]].to_numpy()]
    names, tables = [" ".join(pair) for pair in wanted], {table: None for _, table in wanted}
    for name in only:
        if name not in names: raise unknown("primary verdict", name, names)
    for name in files:
        if name not in tables: raise unknown("table for --file", name, tables)
    before = stored_replays(results)
    had = set(before["number"] + " " + before["dataset"])
    left = [pair for pair in wanted if (name := " ".join(pair)) not in had and (not only or name in only)]
    files = {name: path for name, path in files.items() if name in {table for _, table in left}}
    todo, left_out = reruns(left, read_table("commands", results), files)
    began = time.perf_counter()
    for rerun, found in findings_again(todo, out, execute, print):
        seconds, began = time.perf_counter() - began, time.perf_counter()
        if isinstance(found, str):
            left_out.append(found)
            continue
        rows = pd.concat([stored_replays(results), found[REPLAYED]])
        save_table(rows.sort_values(["number", "dataset"], kind="stable"), "replays", results)
        source = Path(files.get(rerun.dataset, "")).name
        note(f"replay {rerun.label}", f"docs/replays.py --only '{rerun.label}'"
             + f" --file {rerun.dataset}={source}" * bool(source), seconds)
    for sentence in left_out: print(sentence)
    print(f"{len(todo)} of {len(left)} were run; {len(wanted) - len(left)} lay there or were not asked for.")
    raise typer.Exit(any(" failed: " in sentence for sentence in left_out))


if __name__ == "__main__":
    try: typer.run(main)
    except InputError as err: raise SystemExit(f"replays: {err}") from None
