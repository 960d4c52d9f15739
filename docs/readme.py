"""Write README.md out of nbs/index.ipynb, docs/claims.md out of the register of claims, and nbs/README.md, on
which JupyterLab opens, out of all notebooks.

    .venv/bin/python docs/readme.py           # write them
    .venv/bin/python docs/readme.py --check   # exit code 1 when one is stale
"""
import posixpath
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from unittest.mock import patch

import nbformat
from nbconvert import MarkdownExporter
from register import NOT_TRAINED, Register, anchor, as_markdown, as_page, matrix, not_run
from traitlets.config import Config

from collapse_nb.records import InputError

ROOT = Path(__file__).resolve().parents[1]
# where in the notebook `headline_matrix` belongs
MARK = "<!-- the headline claims, with our verdicts -->"
HEADER = ("<!-- Written from nbs/index.ipynb by docs/readme.py (make readme): edit the notebook, not this "
          "file. -->")
# `](target)` or `src="target"`, but for addresses and anchors; fenced code is matched first, to be left alone
LINK = re.compile(r'(?P<code>^```.*?^```)|(?P<before>\]\(|src=")(?!\w+:|#|/)(?P<target>[^)\s"]+)',
                  flags=re.M | re.S)


def to_root(link: re.Match) -> str:
    "A link of the notebook's folder, as it reads from the root."
    if link["code"]: return link["code"]
    return link["before"] + posixpath.normpath(posixpath.join("nbs", link["target"]))


# figure or table of the paper -> the notebook that has it, and how the names of its files in figures/ begin
ITEMS = {"Fig. 1a": ("06", "fig1a"), "Fig. 1b": ("01", "fig1b"), "Fig. 2": ("01", "fig2"),
         "Fig. 3": ("03", "fig3"), "Fig. 4": ("02", "fig4"), "Fig. 5": ("04", "fig5"),
         "Fig. 6": ("04", "fig6"), "Fig. 7": ("06", "fig7"), "Fig. 8": ("05", "fig8"),
         "Fig. 9": ("06", "fig7-criteo"), "Fig. 10": ("06", "fig7-avazu"),
         "Table 1": ("06", None), "Table 2": ("00", None), "Table 3": ("06", None), "Table 4": ("06", None)}
# of these the paper has cells on Criteo and Avazu alone
NOT_RUN = ("Fig. 9", "Fig. 10", "Table 3", "Table 4")


def numbered() -> dict[str, str]:
    "Notebook's number -> its path from the root."
    return {f.name[:2]: f"nbs/{f.name}" for f in sorted((ROOT / "nbs").glob("[0-9][0-9]_*.ipynb"))}

def figure_list() -> str:
    "The paper's figures and tables, and where each one is."
    lines = ["| paper | notebook | drawn from stored runs |", "|---|---|---|"]
    for item, (number, stem) in ITEMS.items():
        drawn = sorted((ROOT / "figures").glob(f"{stem}*.svg")) if stem else []
        links = ", ".join(f"[{f.stem}](../figures/{f.name})" for f in drawn)
        links = links or ("not run here" if item in NOT_RUN else "a table in the notebook")
        lines.append(f"| {item} | [{number}](../{numbered()[number]}) | {links} |")
    return "\n".join(lines)

def claims_page(register: Register) -> str:
    "docs/claims.md: the register, and where the paper's figures and tables are."
    notebooks = {number: f"../{path}" for number, path in numbered().items()}
    note = ("<!-- Written from docs/claims.toml and data/results by docs/readme.py: edit those, not this "
            "file. -->")
    return "\n\n".join([note, as_page(register, notebooks).strip(), "## The paper's figures and tables",
                        figure_list(), "## What was not run", NOT_TRAINED, as_markdown(not_run())]) + "\n"

def headline_matrix(register: Register) -> str:
    "The headline claims and what became of each, by table; for the README."
    return as_markdown(matrix(register, lambda claim: f"[{claim.headline}](docs/claims.md#{anchor(claim)})"))


def printed(source: str, names: dict) -> str:
    "What a cell says, as its notebook shows it: no number is typed. `names` are the notebook's."
    said: list[str] = []
    if "say" in names: names["say"] = said.append # which an earlier cell has imported
    with patch("collapse_nb.show.notices.say", said.append): exec(compile(source, "<cell>", "exec"), names)
    return "\n\n".join(said)

def spoken(notebook: Path = ROOT / "nbs" / "index.ipynb") -> nbformat.NotebookNode:
    "The notebook, every cell whose code is not shown replaced by what it prints."
    nb, names = nbformat.read(notebook, as_version=4), {}
    for i, cell in enumerate(nb.cells):
        if cell.cell_type == "code" and cell.source.startswith("#| echo: false"):
            said = printed(cell.source, names)
            nb.cells[i] = nbformat.v4.new_markdown_cell(said, metadata={"spoken": True})
    return nb

def readme(notebook: Path = ROOT / "nbs" / "index.ipynb") -> str:
    "The README's text; cells of directives (`#| hide`, `#| eval`, ...) stay out of it."
    directives = {"enabled": True, "patterns": [r"#\|", r"\s*\Z"]}
    exporter = MarkdownExporter(config=Config(RegexRemovePreprocessor=directives))
    nb = spoken(notebook)
    # nbdev_clean removes it, and code would lose its colours
    nb.metadata["language_info"] = {"name": "python"}
    text, _ = exporter.from_notebook_node(nb)
    text = LINK.sub(to_root, text).replace(MARK, headline_matrix(Register()))
    return HEADER + "\n\n" + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


# folder of nbs -> what its notebooks make up
SHELVES = {".": "What they share", "data": "Data: cards, encoded folders, and the line from a table to them",
           "data/sources": "Data: files and their rows",
           "data/encoding": "Data: values become numbers, numbers become ids",
           "data/made_up": "Data that is made up",
           "nn": "Models", "train": "Training", "claims": "What is claimed, and how it is tested",
          "checkpoints": "Model files", "show": "Figures and tables"}
MODULES = "Each is a module of `collapse_nb`: text, code, examples and tests."
START = """
<!-- Written from the notebooks' first cells by docs/readme.py (make readme): edit them, not this file. -->

# Start here

These notebooks are a paper, running: *On the Embedding Collapse When Scaling up Recommendation Models* (Guo
et al., ICML 2024).

Open one below, then *Run ▸ Run All Cells*. Each of the paper's takes about a minute or less on two CPU cores
and trains at a reduced size, called *smoke size* where it shows; figures and verdicts of the full runs are in
it before anything is run. Long cells show how far they are and how long it will take. Point at a mark in a
chart to read its numbers.

JupyterLab saves what you run into the notebook; `git checkout nbs` undoes that, and your own changes with it.
For studies at full size, and on your own data, see the [README](../README.md).
"""


def shelf(names: Iterable[Path]) -> str:
    "Notebooks with the line below their title."
    head = lambda file: nbformat.read(file, as_version=4).cells[0].source.split("\n\n")
    rows = [(f, *(part.strip("#> \n") for part in head(f)[:2])) for f in sorted(names)]
    return "\n".join(["| notebook | what it is about |", "|---|---|", *(
        f"| [{' '.join([*re.findall('^[0-9]+', f.name), title])}]({f.relative_to(ROOT / 'nbs')}) | {line} |"
        for f, title, line in rows)])


def start() -> str:
    "The page that JupyterLab opens on, nbs/README.md: every notebook there is."
    nbs = ROOT / "nbs"
    notebooks = {f for f in nbs.rglob("*.ipynb")
                 if not any(part[0] in "._" for part in f.relative_to(nbs).parts)}
    notebooks -= {nbs / "index.ipynb"}
    paper = {f for f in notebooks if f.name[0].isdigit()}
    if lost := {str(f.parent.relative_to(nbs)) for f in notebooks} - set(SHELVES):
        raise InputError(f"notebooks lie in {', '.join(sorted(lost))}, and SHELVES of docs/readme.py does "
                         "not say what they make up: add a line.")
    parts = [START.strip(), "## The paper", shelf(paper), "## The library", MODULES]
    for folder, title in SHELVES.items():
        parts += [f"### {title}", shelf(f for f in notebooks - paper if f.parent == nbs / folder)]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    stale = 0
    register = Register()
    if ends := register.loose_ends: raise InputError(f"the register has loose ends. {' '.join(ends)}")
    written = {ROOT / "README.md": readme(), ROOT / "nbs" / "README.md": start(),
               ROOT / "docs" / "claims.md": claims_page(register)}
    for file, text in written.items():
        if "--check" not in sys.argv[1:]: file.write_text(text, encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != text:
            print(f"{file.relative_to(ROOT)} is not what the notebooks say: run make readme.")
            stale = 1
    return stale


if __name__ == "__main__":
    try: sys.exit(main())
    except InputError as err: sys.exit(f"readme: {err}")
