"A notebook's tests are of the code that stands in it, whatever was compiled before."
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def outcome(copy: Path, source: list[str]) -> subprocess.CompletedProcess:
    "`nbdev_test` of the notebook on distinct values, with one cell replaced."
    notebook = json.loads((ROOT / "nbs/data/encoding/distinct.ipynb").read_text(encoding="utf-8"))
    cell = next(c for c in notebook["cells"] if "def _slot(" in "".join(c["source"]))
    cell["source"] = source or cell["source"]
    (copy / "nbs/distinct.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    env = {k: v for k, v in os.environ.items() if k != "IN_TEST"} | {"PYTHONPATH": str(ROOT),
                                                                     "NUMBA_CACHE_DIR": str(copy / "cache")}
    return subprocess.run([Path(sys.executable).parent / "nbdev_test", "--path", "nbs/distinct.ipynb",
                           "--n_workers", "0"],
                          cwd=copy, env=env, capture_output=True, text=True)


def test_a_broken_loop_is_seen_after_a_run_that_passed(tmp_path):
    (tmp_path / "nbs").mkdir()
    (tmp_path / "collapse_nb").mkdir()
    shutil.copy(ROOT / "settings.ini", tmp_path)
    assert (first := outcome(tmp_path, [])).returncode == 0, first.stdout + first.stderr
    notebook = json.loads((ROOT / "nbs/data/encoding/distinct.ipynb").read_text(encoding="utf-8"))
    text = next("".join(c["source"]) for c in notebook["cells"] if "def _slot(" in "".join(c["source"]))
    # never finds what is there
    broken = text.replace("slots[slot] != key and slots[slot] != _FREE", "slots[slot] != _FREE")
    assert broken != text
    assert outcome(tmp_path, [broken]).returncode != 0
