"""Write README.md out of nbs/index.ipynb.

    .venv/bin/python docs/readme.py           # write it
    .venv/bin/python docs/readme.py --check   # exit code 1 when it is stale
"""
import posixpath
import re
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[1]
HEADER = "<!-- Written from nbs/index.ipynb by docs/readme.py (make readme): edit the notebook, not this file. -->"
# `](target)` or `src="target"`, but for addresses and anchors; fenced code is matched first, to be left alone
LINK = re.compile(r'(?P<code>^```.*?^```)|(?P<before>\]\(|src=")(?!\w+:|#|/)(?P<target>[^)\s"]+)', flags=re.M | re.S)


def to_root(link: re.Match) -> str:
    "A link of the notebook's folder, as it reads from the root."
    if link["code"]: return link["code"]
    return link["before"] + posixpath.normpath(posixpath.join("nbs", link["target"]))


def readme(notebook: Path = ROOT / "nbs" / "index.ipynb") -> str:
    "The README's text; cells of directives (`#| hide`, `#| eval`, ...) stay out of it."
    exporter = MarkdownExporter(config=Config(RegexRemovePreprocessor={"enabled": True, "patterns": [r"#\|", r"\s*\Z"]}))
    nb = nbformat.read(notebook, as_version=4)
    nb.metadata["language_info"] = {"name": "python"}  # nbdev_clean removes it, and code would lose its colours
    text, _ = exporter.from_notebook_node(nb)
    return HEADER + "\n\n" + re.sub(r"\n{3,}", "\n\n", LINK.sub(to_root, text)).strip() + "\n"


def main() -> int:
    file, text = ROOT / "README.md", readme()
    if "--check" not in sys.argv[1:]: file.write_text(text, encoding="utf-8")
    elif not file.is_file() or file.read_text(encoding="utf-8") != text:
        print("README.md is not what nbs/index.ipynb says: run make readme.")
        return 1
    return 0


if __name__ == "__main__": sys.exit(main())
