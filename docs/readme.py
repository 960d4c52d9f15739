"""Write README.md out of nbs/index.ipynb, and nbs/README.md, on which JupyterLab opens, out of all notebooks.

    .venv/bin/python docs/readme.py           # write them
    .venv/bin/python docs/readme.py --check   # exit code 1 when one is stale
"""
import posixpath
import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import nbformat
import pandas as pd
from nbconvert import MarkdownExporter
from traitlets.config import Config

from collapse_nb.show.sentences import sight, size

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "data" / "results"
# where in the notebook the list of `paper_list` belongs
MARK = "<!-- the paper's figures and tables, with our verdicts -->"
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


def by_dataset(rows: dict[str, pd.Series]) -> str:
    """The verdicts on a claim by dataset; one, where all have the same number: then it is not of the dataset.
    Where it cannot tell, what it could have seen."""
    if len(rows) > 1 and len({(str(row.value), row.verdict) for row in rows.values()}) == 1:
        return next(iter(rows.values())).verdict
    def of(dataset: str, row: pd.Series) -> str:
        seen = sight(row) if row.verdict == "cannot tell" else ""
        if seen: seen = f"±{size(row.half_width)}; {seen}"
        about = ": ".join(part for part in (dataset, seen) if part)
        return f"{row.verdict} ({about})" if about else row.verdict
    return ", ".join(of(dataset, row) for dataset, row in rows.items())


def verdicts(item: str, results: Path) -> str:
    "The paper's claims whose place names the item, with verdicts by dataset; controls of ours are counted."
    claims: dict[str, dict[str, pd.Series]] = {} # claim -> dataset -> row of the findings
    controls: Counter[str] = Counter()
    for file in sorted(results.glob("findings-[0-9][0-9]*.csv")):
        for _, row in pd.read_csv(file).iterrows():
            if not re.search(rf"{re.escape(item)}(?![0-9])", row["where"]): continue
            if row["where"].startswith("control"): controls[row.verdict] += 1
            else: claims.setdefault(row.claim, {})["-".join(file.stem.split("-")[2:])] = row
    lines = [f"{claim}: {by_dataset(rows)}" for claim, rows in claims.items()]
    counts = ", ".join(f"{n} {verdict}" for verdict, n in controls.most_common())
    if controls: lines.append(f"*controls of ours:* {counts}")
    return "<br>".join(lines) or "not run here"


def paper_list(results: Path = RESULTS) -> str:
    "The paper's figures and tables: where each one is, and what became of its claims."
    lines = ["| paper | notebook | figures | claim: verdict |", "|---|---|---|---|"]
    for item, (number, stem) in ITEMS.items():
        notebook = next((ROOT / "nbs").glob(f"{number}_*.ipynb"))
        drawn = sorted((ROOT / "figures").glob(f"{stem}*.svg")) if stem else []
        links = ", ".join(f"[{f.stem}](figures/{f.name})" for f in drawn) or "–"
        lines.append(f"| {item} | [{number}](nbs/{notebook.name}) | {links} | {verdicts(item, results)} |")
    return "\n".join(lines)


def readme(notebook: Path = ROOT / "nbs" / "index.ipynb") -> str:
    "The README's text; cells of directives (`#| hide`, `#| eval`, ...) stay out of it."
    directives = {"enabled": True, "patterns": [r"#\|", r"\s*\Z"]}
    exporter = MarkdownExporter(config=Config(RegexRemovePreprocessor=directives))
    nb = nbformat.read(notebook, as_version=4)
    # nbdev_clean removes it, and code would lose its colours
    nb.metadata["language_info"] = {"name": "python"}
    text, _ = exporter.from_notebook_node(nb)
    text = LINK.sub(to_root, text).replace(MARK, paper_list())
    return HEADER + "\n\n" + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


# folder of nbs -> what its notebooks make up
SHELVES = {".": "What they share", "data": "Data: cards, encoded folders, and the line from a table to them",
           "data/sources": "Data: files and their rows",
           "data/encoding": "Data: values become numbers, numbers become ids",
           "data/made_up": "Data that is made up",
           "nn": "Models", "train": "Training", "show": "Figures and tables"}
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
    parts = [START.strip(), "## The paper", shelf(paper), "## The library", MODULES]
    for folder, title in SHELVES.items():
        parts += [f"### {title}", shelf(f for f in notebooks - paper if f.parent == nbs / folder)]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    stale = 0
    for file, text in (ROOT / "README.md", readme()), (ROOT / "nbs" / "README.md", start()):
        if "--check" not in sys.argv[1:]: file.write_text(text, encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != text:
            print(f"{file.relative_to(ROOT)} is not what the notebooks say: run make readme.")
            stale = 1
    return stale


if __name__ == "__main__": sys.exit(main())
