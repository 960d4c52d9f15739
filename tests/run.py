"""The tests, as `make test` runs them: export, ruff, every notebook, then what crosses notebooks.

    .venv/bin/python tests/run.py             # from anywhere; the last line is `N passed, N failed`
    .venv/bin/python tests/run.py --browser   # and the site and JupyterLab in a browser: make test BROWSER=1
"""
import filecmp
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


class Tally(NamedTuple):
    "What one part found; a part that found nothing has failed."
    passed: int
    failures: list[str]
    skipped: int = 0


def stream(*command: object, cwd: Path = ROOT) -> tuple[int, str]:
    "Run a command, show what it prints as it prints it, and return its exit code and all of its text."
    # IN_TEST silences nbdev_export; one thread a worker: two workers of two threads fight over two cores
    env = {k: v for k, v in os.environ.items() if k != "IN_TEST"}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT),
            "PATH": f"{BIN}{os.pathsep}{env.get('PATH', '')}"}
    text = []
    with subprocess.Popen(list(map(str, command)), cwd=cwd, env=env, text=True, errors="replace", bufsize=1,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            text.append(line)
    return process.returncode, "".join(text)


def differences(ours: Path, fresh: Path) -> list[str]:
    "Python files that differ between two trees, or that only one of them has."
    names = {f.relative_to(tree) for tree in (ours, fresh) for f in tree.rglob("*.py")}
    return [f"{ours.name}/{name} is not what the notebooks export: run nbdev_export" for name in sorted(names)
            if not ((ours / name).is_file() and (fresh / name).is_file()
                    and filecmp.cmp(ours / name, fresh / name, shallow=False))]


def export() -> Tally:
    "collapse_nb/ is what the notebooks export; they are exported aside, so that the tree stays as it is."
    with tempfile.TemporaryDirectory() as folder:
        aside = Path(folder)
        shutil.copy(ROOT / "settings.ini", aside)
        shutil.copytree(ROOT / "nbs", aside / "nbs", ignore=shutil.ignore_patterns(".*", "_*"))
        (aside / "collapse_nb").mkdir()
        code, _ = stream(BIN / "nbdev_export", cwd=aside)
        if code: return Tally(0, [f"nbdev_export ended with exit code {code}"])
        wrong = differences(ROOT / "collapse_nb", aside / "collapse_nb")
    return Tally(not wrong, wrong)


def ruff() -> Tally:
    "One test: no complaint, and something to complain about."
    code, text = stream(BIN / "ruff", "check", "--output-format", "concise")
    if "No Python files found" in text: return Tally(0, ["ruff found no files"])
    return Tally(int(code == 0), [f"ruff check ended with exit code {code}"] if code else [])


def count_notebooks(
    notebooks: list[Path], # those that should have run
    code: int,             # exit code of nbdev_test
    text: str,             # what it printed, with do_print
) -> Tally:                # a notebook that neither completed nor failed was lost with its worker
    "nbdev_test prints no count: a notebook passed when it completed and no error names it."
    completed = set(re.findall(r"- Completed (.+?\.ipynb)", text))
    broken = set(re.findall(r"\w in (.+?\.ipynb):$", text, flags=re.M))
    failures = [f"{n.relative_to(ROOT)}{'' if str(n) in completed else ' (never completed)'}"
                for n in notebooks
                if str(n) not in completed or str(n) in broken]
    passed = len(notebooks) - len(failures)
    if code and not failures: failures = [f"nbdev_test ended with exit code {code}"]
    return Tally(passed, failures)


def notebooks() -> Tally:
    "Every notebook is one test."
    files = [f for f in sorted((ROOT / "nbs").rglob("*.ipynb"))
             if not any(p[0] in "._" for p in f.relative_to(ROOT).parts)]
    code, text = stream(BIN / "nbdev_test", "--n_workers", 2, "--do_print")
    return count_notebooks(files, code, text)


def count_cases(report: Path, code: int) -> Tally:
    "pytest's own count, out of its XML report."
    if not report.is_file(): return Tally(0, [f"pytest ended with exit code {code} and no report"])
    cases = list(ET.parse(report).iter("testcase"))
    bad = [c for c in cases if c.find("failure") is not None or c.find("error") is not None]
    failures = [f"{c.get('classname')}::{c.get('name')}" for c in bad]
    skipped = sum(c.find("skipped") is not None for c in cases)
    if code and not failures: failures = [f"pytest ended with exit code {code}"]
    return Tally(len(cases) - len(bad) - skipped, failures, skipped)


def cases(chosen: str) -> Tally:
    "The tests of tests/ whose marks are the chosen ones."
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        code, _ = stream(sys.executable, "-m", "pytest", "-n", "2", "-m", chosen, "tests",
                         f"--junitxml={report}")
        return count_cases(report, code)


def crossing() -> Tally:
    "The tests of tests/: what crosses notebooks."
    return cases("not browser")


def browsers() -> Tally:
    "The site and JupyterLab in a real browser; without one they are skipped."
    return cases("browser")


def attempt(part: Callable[[], Tally]) -> Tally:
    "A part that crashes, or that finds nothing to test, has failed."
    print(f"\n== {part.__name__}: {part.__doc__.splitlines()[0]}", flush=True)
    try: tally = part()
    except Exception as err: return Tally(0, [f"{part.__name__} crashed: {type(err).__name__}: {err}"])
    return (tally if tally.passed or tally.failures
            or tally.skipped else tally._replace(failures=[f"{part.__name__} found nothing to test"]))


def main() -> int:
    lines, tallies = [], []
    for part in (export, ruff, notebooks, crossing, *[browsers] * ("--browser" in sys.argv[1:])):
        start = time.perf_counter()
        tally = attempt(part)
        lines.append(f"{part.__name__:10} {tally.passed:4} passed {len(tally.failures):4} failed "
                     f"{time.perf_counter() - start:6.0f} s")
        lines += [f"    {failure}" for failure in tally.failures]
        tallies.append(tally)
    passed, skipped = sum(t.passed for t in tallies), sum(t.skipped for t in tallies)
    failed = sum(len(t.failures) for t in tallies)
    print("\n" + "\n".join(lines) + f"\n\n{passed} passed, {failed} failed"
          + (f", {skipped} skipped" if skipped else ""), flush=True)
    return int(failed > 0)


if __name__ == "__main__": sys.exit(main())
