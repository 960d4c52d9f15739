"""Make or resume the full runs behind data/results, figures/ and the verdicts (make results).

    .venv/bin/python docs/results.py --file hflights=hflights.csv.gz --file diabetes130=diabetic_data.csv.gz
    .venv/bin/python docs/results.py --only 03 --dataset synthetic --scales 1,4     # a part of it

Trained models are kept in runs/models: stopped and started again, it trains what is missing. A dataset whose
file is not given, or not there, is left out, and says so. What was run, and when, is noted in
data/results/commands.csv.
"""
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
import yaml

from collapse_nb.train.runs import RunStore

ROOT = Path(__file__).resolve().parents[1]
STORE, EXECUTED, RESULTS = ROOT / "runs" / "models", ROOT / "runs" / "results", ROOT / "data" / "results"
GPU = torch.cuda.is_available() # the whole grid; on the CPU two models at three sizes
SCALES = "1,2,3,4,10" if GPU else "1,4,10"
SIX = ["DNN", "IPNN", "NFwFM", "xDeepFM", "DCNv2", "FinalMLP"]
GRID = SIX if GPU else ["DNN", "DCNv2"]
# cheap ones first; 06 after the others: it finds most of its runs in the store
NOTEBOOKS = ("00", "02", "03", "01", "04", "05", "06", "12", "15", "17", "18", "19", "20", "07")
# datasets, the notebooks that want them, and what these take else: the law of 03 wants many fields, but
# freezing tables of 47 fields takes long and says nothing about the law
def evidence(dataset: str, models: list[str]) -> dict:
    "What a notebook takes of the models that docs/evidence_runs.py trained."
    return {"models": models, "store": f"runs/evidence/{dataset}"}


EVIDENCE = {"scales": [1, 4], "control_scale": 0} # of 06, where it was trained so
LADDER = {"15": {"models": ["DNN"]}} # where DCNv2's was not run
ONLY = {"synthetic": {number: {} for number in NOTEBOOKS if number not in ("17", "18")} | LADDER,
        "hflights": {number: {} for number in NOTEBOOKS if number not in ("17", "18", "19", "20")} | LADDER |
                    {"18": evidence("hflights", ["IPNN", "NFwFM", "xDeepFM", "FinalMLP"])},
        "diabetes130": {"00": {}, "03": {"ranks": []}, **LADDER,
                        "06": EVIDENCE | evidence("diabetes130", ["DNN", "NFwFM", "DCNv2"])},
        "nycflights13": {"06": EVIDENCE | evidence("nycflights13", SIX), "18": evidence("nycflights13", SIX)},
        "insteval": {"01": {}, "04": {"regularised_scales": [1, 4, 10]}, "05": {"control_scale": 10},
                     "06": EVIDENCE | evidence("insteval", SIX) | {"until": .001, "at_most": 20},
                     "15": {}, "17": {},
                     "18": evidence("insteval", SIX), "19": {}}}


def parameters(number: str, scales: list[int]) -> dict:
    """What a notebook takes at full size, apart from the dataset: five seeds, forty for the toy, which is
    cheap."""
    five = {"seeds": 5}
    return {"00": {}, "02": {"seeds": 40}, "03": {**five, "ranks": [1, 2, 4, 7, 10]},
            "01": {**five, "models": ["DCNv2", "DNN"], "scales": scales, "ablation_scale": 4 if GPU else 1},
            "04": {**five, "scales": scales,
                   "regularised_scales": scales if GPU else [s for s in scales if s <= 4],
                   "weights": [1e-6, 1e-4, 1e-3] if GPU else [1e-4, 1e-3]}, # 1e-5 is the one of every size
            "05": {**five, "scales": [s for s in scales if s > 1][-2:], "control_scale": min(4, max(scales)),
                   "hidden": [100, 800] if GPU else [100], "depths": [1, 3]},
            "06": {**five, "models": GRID, "scales": scales, "control_scale": min(4, max(scales))},
            "07": {**five, "rows": 0},
            **{name: {**five, "models": ["DNN", "DCNv2"], "scale": 4} for name in ("15", "17", "18", "20")},
            "19": {**five, "ranks": [1, 3, 10]},
            "12": {**five, "model": "DNN", "scale": 4, "row_counts": [8000, 25_000, 80_000],
                   "steps": [32, 100, 312]}}[number]


def plan(files: dict[str, str], numbers: list[str], scales: list[int]) -> list[tuple[str, dict]]:
    "Notebook and parameters of every run, in order; the toy has no dataset."
    runs = []
    for number in numbers:
        if number == "02": runs.append((number, parameters(number, scales)))
        for dataset, source in files.items() if number != "02" else ():
            if number in ONLY.get(dataset, [n for n in NOTEBOOKS if n != "20"]): # of made-up clicks alone
                values = {"dataset": dataset, "source": source, **parameters(number, scales)}
                if number not in ("00", "07"): values["store"] = "runs/models"
                runs.append((number, values | ONLY.get(dataset, {}).get(number, {})))
    return runs


def execute(number: str, values: dict) -> bool:
    "Run one notebook at full size, and note the command when it is done."
    notebook = next((ROOT / "nbs").glob(f"{number}_*.ipynb"))
    label = f"{notebook.stem} {values.get('dataset', '')}".strip()
    out = f"runs/results/{label.replace(' ', '-')}"
    words = yaml.safe_dump({**values, "out_dir": out}, default_flow_style=True, width=10**6).strip()
    command = ["papermill", "--no-progress-bar", f"nbs/{notebook.name}", f"{out}.ipynb", "-y", words]
    print(f"== {label}", flush=True)
    start = time.perf_counter()
    code = subprocess.run([Path(sys.executable).with_name(command[0]), *command[1:]], cwd=ROOT).returncode
    seconds = time.perf_counter() - start
    print(f"== {label}: {'done' if code == 0 else 'FAILED'} after {seconds:.0f} s", flush=True)
    for table in (ROOT / out).glob("*.csv") if code == 0 else (): shutil.copy(table, RESULTS)
    if code == 0: # a path of this machine is noted by the file's name alone
        source = values.get("source", "")
        note(label, words.replace(source, Path(source).name) if source else words, seconds)
    return code == 0


def note(label: str, words: str, seconds: float) -> None:
    "One row per notebook and dataset: the last command that was run for it, and how long that took."
    file = RESULTS / "commands.csv"
    columns = ["run", "parameters", "seconds", "finished"]
    rows = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=columns)
    today = time.strftime("%Y-%m-%d", time.gmtime())
    new = pd.DataFrame([{"run": label, "parameters": words, "seconds": round(seconds), "finished": today}])
    pd.concat([rows[rows["run"] != label], new]).sort_values("run").to_csv(file, index=False)


def main(
    file: Annotated[list[str],
                    typer.Option(help="DATASET=FILE, as often as there are datasets.")] = [],  # noqa: B006
    only: Annotated[list[str],
                    typer.Option(help="Number of a notebook, such as 03; else all.")] = [],  # noqa: B006
    dataset: Annotated[list[str], typer.Option(help="One of the datasets; else all.")] = [],  # noqa: B006
    scales: Annotated[str, typer.Option(help="Model sizes.")] = SCALES,
) -> None:
    "Make or resume the full runs."
    if wrong := [w for w in file if "=" not in w]:
        raise typer.BadParameter(f"{wrong[0]!r} was given: name datasets as DATASET=FILE.")
    if wrong := sorted(set(only) - set(NOTEBOOKS)):
        raise typer.BadParameter(f"there is no study {wrong[0]!r}: choose of {' '.join(NOTEBOOKS)}.")
    files = {"synthetic": ""}
    for name, source in (w.split("=", 1) for w in file):
        if Path(source).is_file(): files[name] = str(Path(source).resolve())
        else: print(f"{name} is left out: there is no file {source!r}")
    if dataset: files = {name: source for name, source in files.items() if name in dataset}
    EXECUTED.mkdir(parents=True, exist_ok=True)
    todo = plan(files, [n for n in NOTEBOOKS if not only or n in only], [int(s) for s in scales.split(",")])
    failed = [f"{number} {values.get('dataset', '')}" for number, values in todo
              if not execute(number, values)]
    frame = RunStore(STORE).frame()
    trained = frame.drop_duplicates("group").fit_s.sum() if len(frame) else 0
    print(f"{len(frame)} runs in runs/models, {trained / 60:.0f} minutes of training in all, "
          "over however many starts.")
    for name in failed: print(f"FAILED: {name}")
    raise typer.Exit(bool(failed))


if __name__ == "__main__": typer.run(main)
