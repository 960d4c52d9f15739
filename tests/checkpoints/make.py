"""Writes the specimens beside this file again, each with the package that is their subject.

    python tests/checkpoints/make.py                 # all of them: some minutes, and up to 3 GB at a time
    python tests/checkpoints/make.py recbole keras   # these alone

Every package gets an environment of its own in a temporary folder, with the versions below, and is gone
afterwards; `makers/make_<package>.py` trains it for a few steps on made-up clicks (`makers/common.py`), saves
as its own guide says, and writes `expected.json`: what is known of each file because it was made here. It
needs Python 3.11 and a package index, and is no part of the tests, which read what it wrote. torch is taken
as pip finds it; on Linux that is a large build unless pip's settings name an index of CPU builds.
"""
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
LARGEST_FILE, LARGEST_ALL = 60_000, 1_000_000 # bytes

TORCH = "torch==2.13.0"
# package -> what pip installs; what is named beside the package is what its own metadata leaves too open
NEEDS = {
    "fuxictr": [TORCH, "fuxictr==2.3.10", "polars<2"],
    "deepctr_torch": [TORCH, "deepctr-torch==0.3.0", "requests"], # imports requests without asking for it
    "recbole": [TORCH, "recbole==1.2.1", "numpy<2", "pandas<2.2"],
    "torch_rechub": [TORCH, "torch-rechub==0.9.0"],
    "lightning": [TORCH, "lightning==2.6.6"],
    "implicit": ["implicit==0.7.3"],
    "torchrec": [TORCH, "fbgemm-gpu-cpu==1.8.0", "pyre-extensions", "tensordict", "torchmetrics==1.0.3",
                 "tqdm"],
    "keras": ["keras==3.15.1", "jax", "h5py"],
    "gensim": ["gensim==4.4.0"],
    "spark": ["pyspark==4.1.1", "numpy"], # needs Java 17
    "pickles": ["scikit-surprise==1.1.5", "lightfm-next==1.19.0", "pandas"],
}
# what would bring a package along that must not be there: torchrec asks for fbgemm-gpu, whose CUDA libraries
# then lie where fbgemm-gpu-cpu has its own
ALONE = {"torchrec": ["torchrec==1.8.0"]}


def make(package: str, place: Path) -> None:
    "An environment, the package's maker in it, and what it wrote under its folder here."
    kept, scratch = place / "kept", place / "scratch"
    for folder in (kept, scratch): folder.mkdir()
    venv.create(place / "env", with_pip=True)
    python = place / "env" / "bin" / "python"
    pip = [python, "-m", "pip", "install", "-q"]
    subprocess.run([*pip, *NEEDS[package]], check=True)
    if package in ALONE: subprocess.run([*pip, "--no-deps", *ALONE[package]], check=True)
    subprocess.run([python, HERE / "makers" / f"make_{package}.py", kept, scratch], check=True, cwd=scratch)
    large = [file for file in kept.rglob("*") if file.is_file() and file.stat().st_size > LARGEST_FILE]
    if large: raise SystemExit(f"{large[0].name} has more than {LARGEST_FILE} bytes: make it smaller.")
    shutil.rmtree(HERE / package, ignore_errors=True)
    shutil.copytree(kept, HERE / package)


def main(packages: list[str]) -> None:
    if unknown := [p for p in packages if p not in NEEDS]:
        raise SystemExit(f"no maker of {unknown[0]}: choose from {', '.join(NEEDS)}.")
    for package in packages or NEEDS:
        with tempfile.TemporaryDirectory() as place: make(package, Path(place))
        print(f"{package}: done", flush=True)
    total = sum(file.stat().st_size for p in NEEDS for file in (HERE / p).rglob("*") if file.is_file())
    if total > LARGEST_ALL: raise SystemExit(f"The specimens have {total} bytes of at most {LARGEST_ALL}.")


if __name__ == "__main__": main(sys.argv[1:])
