"""Build the site into _site/html, with nothing from the network.

    PYTHONPATH=docs .venv/bin/python -m website      # what `make site` does; a folder may be named

Ends with 3, and a list, when stored results that a page should show are not there or of an older schema: the
place on the page says so, and all else is built.
"""
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import vl_convert
from readme import spoken
from register import Register, as_markdown, matrix
from sphinx.cmd.build import main as sphinx

from collapse_nb.records import InputError
from collapse_nb.show.charts import VEGA_LITE
from website import api, claims, explorer, llms, project, results
from website.gallery import ROOT, Gallery
from website.missing import missing
from website.notebooks import LINK, NBS, Page, docname, listed, title

HERE = Path(__file__).parent
ARCHIVE = "collapse_nb.tar.gz"
# notebooks that measure this library; they are no part of the paper
RACES = ("08", "09", "10", "11", "13", "14")
YOURS = ("07",) # for who has a model of their own; it stands among what is for use


def archive(file: Path) -> None:
    """The project as one file, so that whoever has the site has the code: what git tracks, or all but what
    is built."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True,
                             text=True).stdout if (ROOT / ".git").exists() else ""
    built = {".venv", "runs", "_site", "_proc", "_docs", "build", "dist", "raw", "encoded", "__pycache__"}
    names = [n for n in listing.split("\0") if n] or [f.relative_to(ROOT).as_posix()
                                                      for f in sorted(ROOT.rglob("*")) if f.is_file()
                                                      and not built & set(f.relative_to(ROOT).parts)]
    with tarfile.open(file, "w:gz", compresslevel=6) as tar:
        for name in names:
            if (ROOT / name).is_file(): tar.add(ROOT / name, f"collapse_nb/{name}")


def assets(static: Path) -> None:
    "Scripts and styles: ours, Vega's bundle and MathJax's one file."
    shutil.copytree(HERE / "static", static, dirs_exist_ok=True)
    mathjax = "sphinx-mathjax-offline/static/mathjax/tex-svg.js"
    shutil.copy(distribution("sphinx-mathjax-offline").locate_file(mathjax), static)
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    (static / "vega.js").write_text(f"(()=>{{{bundle}}})();", encoding="utf-8")


def front(gallery: Gallery, register: Register) -> str:
    "The front page: what the paper says and what was found are the words of the README."
    said = missing.made("index", lambda: [c.source for c in spoken().cells if c.metadata.get("spoken")])
    # what the README says in code: the paper, replays, how to read on; what a cluster costs stays there
    opening, replayed, turns = ((Page(NBS / "index.ipynb", gallery).prose(text) for text in said[:3]) if said
                                else (missing.notice("index"), "", ""))
    numbered = [f for f in listed() if f.name[0].isdigit()]
    shelf = {number: "BENCHMARKS" for number in RACES} | {number: "YOURS" for number in YOURS}
    shelves = {name: "\n".join(docname(f) for f in numbered if shelf.get(f.name[:2], "PAPER") == name)
               for name in ("PAPER", "BENCHMARKS", "YOURS")}
    link = lambda claim: f"[{claim.headline}](/{claims.name(claim)}.md)"
    charts = {"SPECTRUM": gallery.stored("spectrum-hflights"), "CHART": gallery.stored("fig7-hflights")}
    told = missing.made("index, claims", lambda: as_markdown(matrix(register, link)))
    replacements = {"OPENING": opening, "REPLAYED": replayed, "TURNS": turns, "ARCHIVE": ARCHIVE,
                    "MATRIX": told or missing.notice("index, claims"), **shelves,
                    **{name: chart or "" for name, chart in charts.items()}}
    page = (HERE / "pages" / "index.md").read_text(encoding="utf-8")
    for name, value in replacements.items(): page = page.replace(f"@{name}@", value)
    return page


def sources(out: Path) -> None:
    "Writes every page as Markdown."
    gallery, register = Gallery(out / "_static"), Register(note=missing.note)
    for end in register.loose_ends: missing.note("claims", end)
    for file in [*listed(), NBS / "index.ipynb"]:
        page = out / f"{docname(file)}.md"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(Page(file, gallery).text(), encoding="utf-8")
    shutil.copytree(HERE / "pages", out, dirs_exist_ok=True)
    (out / "index.md").write_text(front(gallery, register), encoding="utf-8")
    (out / "library" / "index.md").write_text(library(), encoding="utf-8")
    (out / "api").mkdir()
    (out / "api" / "index.md").write_text(api.index(), encoding="utf-8")
    for file in api.modules():
        (out / "api" / f"{api.module(file)}.md").write_text(api.page(file, gallery.static), encoding="utf-8")
    shutil.copy(ROOT / "CHANGELOG.md", out / "changelog.md")
    # whose links are from the root of the project
    for page in (ROOT / "CONTRIBUTING.md", out / "examples.md"):
        (out / page.name.lower()).write_text(
            LINK.sub(from_root(gallery.static), page.read_text(encoding="utf-8")), encoding="utf-8")
    shutil.copy(HERE / "conf.py", out)
    results.write(out, gallery, register)
    claims.write(out, gallery, register)
    explorer.write(out / "_static" / "explorer-data.js", out / "explorer.md")


def from_root(static: Path) -> Callable[[re.Match], str]:
    "What a link from the root of the project is on the site: a page, or the file itself."
    def turned(link: re.Match) -> str:
        words, path, anchor = link[2], ROOT / link[3], link[4] or ""
        if path.suffix == ".ipynb": return f"[{words}](/{docname(path)}.md{anchor})"
        return project.link(words, path, static, 0, anchor)
    return turned


def library() -> str:
    "The list of the library's notebooks."
    mine = [f for f in listed() if not f.name[0].isdigit()]
    rows = "\n".join(f"| [{title(f)}](/{docname(f)}.md) | `{f.relative_to(NBS).as_posix()}` |" for f in mine)
    toc = "\n".join(docname(f).removeprefix("library/") for f in mine)
    return ("# The library's notebooks\n\nThe library is written in notebooks: each module beside its "
            "reasons, examples and tests.\n\n"
            f"| notebook | file |\n|---|---|\n{rows}\n\n```{{toctree}}\n:hidden:\n\n{toc}\n```\n")


def main(site: Path) -> int:
    shutil.rmtree(site, ignore_errors=True)
    missing.notes.clear()
    out = site / "src"
    (out / "_static").mkdir(parents=True)
    assets(out / "_static")
    sources(out)
    # what is not shown may be linked to: then a warning is no error of the build
    strict = [] if missing.notes else ["-W", "--keep-going"]
    failed = sphinx(["-q", *strict, "-j", "auto", "-b", "html", "-d", str(site / "doctrees"),
                     str(out), str(site / "html")])
    if failed:
        missing.report()
        return failed
    archive(site / "html" / ARCHIVE)
    llms.write(out, site / "html")
    print(f"{site / 'html' / 'index.html'}: open it, or serve it with: python -m http.server --directory "
          f"{site / 'html'}")
    return missing.report()


if __name__ == "__main__":
    try: sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("_site")))
    except InputError as err: sys.exit(f"site: {err}") # without any findings there is nothing to show
