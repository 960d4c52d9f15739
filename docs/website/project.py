"Files of the project that pages link to: copied into the site, so that no link needs another host."
import html
import shutil
from pathlib import Path

from website.gallery import ROOT

# pages of the site that are made from files of the project
PAGES = {"CHANGELOG.md": "/changelog.md", "CONTRIBUTING.md": "/contributing.md",
         "nbs/index.ipynb": "/guide.md", "README.md": "/index.md"}


def link(words: str, path: Path, static: Path, depth: int, anchor: str = "") -> str:
    """A link to a file of the project, as a page has it that lies `depth` folders below the site's root; the
    words alone for what is no file."""
    place = path.relative_to(ROOT).as_posix()
    if place in PAGES: return f"[{words}]({PAGES[place]}{anchor})"
    if path.parent == ROOT / "docs" / "website" / "pages" and path.suffix == ".md":
        return f"[{words}](/{path.name}{anchor})"
    if not path.is_file(): return words
    copy = static / "project" / place
    copy.parent.mkdir(parents=True, exist_ok=True)
    if not copy.is_file(): shutil.copy(path, copy)
    address = html.escape(f"{'../' * depth}_static/project/{place}")
    return f'<a class="reference" href="{address}">{words}</a>'
