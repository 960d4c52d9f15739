"""Make or resume the full runs behind data/results, figures/ and the verdicts (make results).

    .venv/bin/python docs/results.py hflights=hflights.csv.gz diabetes130=diabetic_data.csv.gz

Trained models are kept in runs/models: stopped and started again, it trains what is missing. A dataset whose file is not given, or not
there, is left out, and the last lines say so. On a GPU the whole grid is trained; on the CPU two models at three sizes.
"""
import subprocess
import sys
import time
from pathlib import Path

import torch
import yaml

from collapse_nb.records import InputError
from collapse_nb.train.runs import RunStore

ROOT = Path(__file__).resolve().parents[1]
STORE, EXECUTED = ROOT / "runs" / "models", ROOT / "runs" / "results"
GPU = torch.cuda.is_available()
SEEDS, SCALES = 5, [1, 2, 3, 4, 10] if GPU else [1, 4, 10]
GRID = ["DNN", "IPNN", "NFwFM", "xDeepFM", "DCNv2", "FinalMLP"] if GPU else ["DNN", "DCNv2"]

# notebook -> its parameters at full size; cheap ones first, and 06 last: it finds most of its runs in the store
STUDIES = {
    "00_preliminaries": {},
    "03_interaction_collapse": {"seeds": SEEDS, "ranks": [1, 2, 4, 7, 10]},
    "01_information_abundance": {"seeds": SEEDS, "models": ["DCNv2", "DNN"], "scales": [1, 4, 10], "ablation_scale": 4},
    "04_overfitting": {"seeds": SEEDS, "scales": [1, 4, 10], "regularised_scales": [1, 4, 10] if GPU else [1, 4],
                       "weights": [1e-6, 1e-5, 1e-4, 1e-3]},
    "05_multi_embedding": {"seeds": SEEDS, "scales": [4, 10], "control_scale": 4},
    "06_scaling": {"seeds": SEEDS, "models": GRID, "scales": SCALES},
}
# datasets with no embedded rows and the one notebook that wants them besides the two
ONLY = {"diabetes130": ("00_preliminaries", "03_interaction_collapse")}


def plan(sources: dict[str, str]) -> list[tuple[str, dict]]:
    "Notebook and parameters of every run, in order; the toy of notebook 02 has no dataset."
    runs = [("02_toy_gradient", {"seeds": 40})]
    for name, more in STUDIES.items():
        for dataset, source in {"synthetic": "", **sources}.items():
            if name in ONLY.get(dataset, STUDIES):
                store = {} if name.startswith("00") else {"store": str(STORE)}
                runs.append((name, {"dataset": dataset, "source": source, **store, **more}))
    return runs


def execute(name: str, parameters: dict) -> bool:
    "Run one notebook at full size; what papermill prints is shown."
    label = f"{name} {parameters.get('dataset', '')}".strip()
    words = yaml.safe_dump({**parameters, "out_dir": str(ROOT / "data" / "results")}, default_flow_style=True, width=10**6)
    out = EXECUTED / f"{label.replace(' ', '-')}.ipynb"
    print(f"== {label}", flush=True)
    start = time.perf_counter()
    papermill = Path(sys.executable).with_name("papermill")
    code = subprocess.run([papermill, "--no-progress-bar", ROOT / "nbs" / f"{name}.ipynb", out, "-y", words]).returncode
    print(f"== {label}: {'done' if code == 0 else 'FAILED'} after {time.perf_counter() - start:.0f} s", flush=True)
    return code == 0


def given(words: list[str]) -> dict[str, str]:
    "Dataset -> its file, of those that are there."
    if wrong := [w for w in words if "=" not in w]: raise InputError(f"{wrong[0]!r} was given: name datasets as name=file.")
    pairs = dict(w.split("=", 1) for w in words)
    for name, file in pairs.items():
        if not Path(file).is_file(): print(f"{name} is left out: there is no file {file!r}")
    return {name: str(Path(file).resolve()) for name, file in pairs.items() if Path(file).is_file()}


def main(words: list[str]) -> int:
    EXECUTED.mkdir(parents=True, exist_ok=True)
    failed = [f"{name} {parameters.get('dataset', '')}" for name, parameters in plan(given(words)) if not execute(name, parameters)]
    frame = RunStore(STORE).frame()
    trained = frame.drop_duplicates("group").fit_s.sum() if len(frame) else 0
    print(f"{len(frame)} runs in {STORE.relative_to(ROOT)}, {trained / 60:.0f} minutes of training in all, over however many starts.")
    for name in failed: print(f"FAILED: {name}")
    return int(bool(failed))


if __name__ == "__main__":
    try: sys.exit(main(sys.argv[1:]))
    except InputError as err: sys.exit(f"results: {err}")
