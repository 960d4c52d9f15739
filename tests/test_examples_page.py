"The worked examples of the documentation, carried out on a copy of the project as they stand."
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "website" / "pages" / "examples.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.M | re.S)
EXAMPLES = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"),
                           flags=re.M | re.S))


def steps(text: str) -> list[tuple[str, str, str]]:
    """What an example does, in order: (kind, file, content); what is put in place of something has that
    before it."""
    done, at = [], 0
    for fence in FENCE.finditer(text):
        before, at = " ".join(text[at:fence.start()].split()), fence.end()
        files = re.findall(r"`([\w./]+\.(?:ipynb|py|toml))`", before)
        if fence[1] == "sh": kind, file = "run", ""
        elif before.endswith(", for"): kind, file = "for", files[-1]
        elif before == "write": kind, file = "write", done[-1][1]
        elif re.search(r"new cell at the end of `[^`]+`:$", before): kind, file = "cell", files[-1]
        elif re.search(r"new file `[^`]+`:$", before): kind, file = "file", files[-1]
        else: raise AssertionError(f"what shall be done with the block after {before[-60:]!r}?")
        done.append((kind, file, fence[2]))
    return done


def replaced(path: Path, old: str, new: str) -> None:
    "Put something in the place of what stands in a file once, in a notebook's cells or in a text."
    if path.suffix != ".ipynb":
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands in {path.name} {text.count(old)} times"
        path.write_text(text.replace(old, new), encoding="utf-8")
        return
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [c for c in notebook["cells"] if c["cell_type"] == "code" and old in "".join(c["source"])]
    assert len(cells) == 1 and "".join(cells[0]["source"]).count(old) == 1, (
        f"{old!r} stands in {len(cells)} cells of {path.name}")
    cells[0]["source"] = "".join(cells[0]["source"]).replace(old, new)
    path.write_text(json.dumps(notebook), encoding="utf-8")


def added(path: Path, source: str, number: int) -> None:
    "Put a cell at the end of a notebook."
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["cells"].append({"cell_type": "code", "execution_count": None, "id": f"e{number:07x}",
                              "metadata": {},
                              "outputs": [], "source": source.rstrip("\n")})
    path.write_text(json.dumps(notebook), encoding="utf-8")


@pytest.fixture
def house(tmp_path) -> Path:
    "A copy of the project."
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True,
                             text=True).stdout.split("\0")[:-1]
    if not tracked: pytest.skip("not a checkout, so nobody knows which files are the project's")
    for name in tracked:
        if name.startswith(("figures/", "findings/")) or not (ROOT / name).is_file(): continue
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("title", EXAMPLES)
def test_example(house, title):
    env = os.environ | {"PYTHONPATH": str(house), "OMP_NUM_THREADS": "1"}
    env.pop("IN_TEST", None)
    for number, (kind, file, content) in enumerate(todo := steps(EXAMPLES[title])):
        match kind:
            case "file": (house / file).write_text(content, encoding="utf-8")
            case "cell": added(house / file, content, number)
            case "for": replaced(house / file, content.rstrip("\n"), todo[number + 1][2].rstrip("\n"))
            case "run":
                for command in content.replace(".venv/bin/", f"{Path(sys.executable).parent}/").splitlines():
                    done = subprocess.run(command, shell=True, cwd=house, env=env, capture_output=True,
                                          text=True)
                    assert done.returncode == 0, command + "\n" + done.stdout[-3000:] + done.stderr[-3000:]


def test_every_example_is_followed():
    assert len(EXAMPLES) == 4 and all(kinds.count("run") >= 1
                                      for kinds in ([k for k, *_ in steps(t)] for t in EXAMPLES.values()))
