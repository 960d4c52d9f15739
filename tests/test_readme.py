"README.md is what nbs/index.ipynb says, and what it links to is there."
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from readme import HEADER, readme

ROOT = Path(__file__).resolve().parents[1]


def test_readme_is_fresh():
    check = subprocess.run([sys.executable, ROOT / "docs" / "readme.py", "--check"], capture_output=True,
                           text=True)
    assert check.returncode == 0, check.stdout + check.stderr


def shown(text: str) -> str: return re.sub(r"<!--.*?-->|^```.*?^```", "", text, flags=re.S | re.M)

def test_links_lead_somewhere():
    targets = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", shown((ROOT / "README.md").read_text(encoding="utf-8")))
    assert targets and [t for t in targets if not (ROOT / t).exists()] == []


def test_every_numbered_notebook_is_listed():
    text = shown((ROOT / "README.md").read_text(encoding="utf-8"))
    assert [n.name for n in sorted((ROOT / "nbs").glob("[0-9]*.ipynb"))
            if f"](nbs/{n.name})" not in text] == []


@pytest.fixture
def notebook(tmp_path):
    def write(*cells):
        file = tmp_path / "index.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=list(cells)), file)
        return file
    return write

def test_links_are_turned_to_the_root(notebook):
    text = ("[a](06_scaling.ipynb#end) ![f](../figures/f.svg) [l](../LICENSE) [w](https://host/a.ipynb) "
            "[h](#top)\n\n"
            "```python\nx[0](a)\n```\n\n<img src=\"../figures/g.svg\">")
    assert readme(notebook(nbformat.v4.new_markdown_cell(text))) == HEADER + "\n\n" + (
        "[a](nbs/06_scaling.ipynb#end) ![f](figures/f.svg) [l](LICENSE) [w](https://host/a.ipynb) "
        "[h](#top)\n\n"
        "```python\nx[0](a)\n```\n\n<img src=\"figures/g.svg\">\n")

def test_only_what_a_reader_needs_stays(notebook):
    hidden, plain = nbformat.v4.new_code_cell("#| hide\nimport os"), nbformat.v4.new_code_cell("1 + 1")
    assert readme(notebook(hidden, plain)) == HEADER + "\n\n```python\n1 + 1\n```\n"
