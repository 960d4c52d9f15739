"""The documentation site, built once and read in a real browser: no other host, no error, nothing that
overflows or leads nowhere."""
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("sphinx", reason="no Sphinx: pip install -e '.[site]'")

ROOT = Path(__file__).resolve().parents[1]
SHARED = re.compile(r"_static/(vega|tex-svg|searchtools|language_data|explorer-data)\.js|searchindex\.js")


class Marks(HTMLParser):
    """What a page links to, what it loads, the places in it that can be linked to, and pictures without a
    text."""
    def __init__(self, page: Path):
        super().__init__()
        self.links, self.loads, self.ids, self.silent = [], [], set(), []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids.update(values[k] for k in ("id", "name") if k in values)
        if tag == "a" and "href" in values: self.links.append(values["href"])
        if tag in ("script", "img", "iframe", "source") and "src" in values: self.loads.append(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "icon"): self.loads.append(values["href"])
        if "data-src" in values: self.loads.append(values["data-src"])
        drawn = tag == "img" or (values.get("role") == "img" and "data-src" in values)
        if drawn and not (values.get("alt") or values.get("aria-label")):
            self.silent.append(self.get_starttag_text())


@pytest.fixture(scope="module")
def pages(site): return {page: Marks(page) for page in sorted(site.rglob("*.html"))}

def broken(page: Path, target: str, pages: dict) -> bool:
    "Whether an internal link leads to no file, or to no place in it."
    parts = urlsplit(target)
    file = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if parts.scheme or parts.netloc: return False
    if not file.is_file(): return True
    return (bool(parts.fragment) and file in pages and unquote(parts.fragment) not in pages[file].ids
            and file.stem != "explorer")


def test_every_link_leads_somewhere(pages):
    wrong = [f"{page.name}: {t}" for page, marks in pages.items() for t in marks.links + marks.loads
             if broken(page, t, pages)]
    assert len(pages) > 80 and wrong == []

def test_a_broken_link_is_seen(pages):
    page = next(iter(pages))
    assert broken(page, "nowhere.html", pages) and broken(page, "#nowhere",
                                                          pages) and not broken(page, "https://host/a", pages)

def test_nothing_is_loaded_from_another_host(pages):
    assert [t for marks in pages.values() for t in marks.loads if urlsplit(t).netloc] == []

def test_every_picture_has_a_text(pages): assert [s for marks in pages.values() for s in marks.silent] == []

def test_pages_are_light(pages):
    "A page with its charts, apart from what all pages share, is under 1 MB."
    def weight(page, marks):
        own = {(page.parent / t).resolve() for t in marks.loads if not SHARED.search(t) and "/charts/" in t}
        return page.stat().st_size + sum(f.stat().st_size for f in own if f.suffix == ".js")
    assert {p.name: w for p, m in pages.items() if (w := weight(p, m)) > 1_000_000} == {}


def test_every_notebook_and_card_is_there(site):
    folder = ROOT / "nbs"
    notebooks = {f.relative_to(folder).with_suffix("").as_posix() for f in folder.rglob("*.ipynb")
                 if f.parent.name[0] != "."}
    there = {f.relative_to(site / part).with_suffix("").as_posix() for part in ("paper", "library")
             for f in (site / part).rglob("*.html")}
    assert notebooks - {"index"} == there - {"index"}
    cards = (site / "cards.html").read_text(encoding="utf-8")
    assert [c.stem for c in (ROOT / "data").glob("*.toml") if f'id="{c.stem}"' not in cards] == []

def test_every_figure_is_among_the_results(site):
    text = "".join(f.read_text(encoding="utf-8") for f in (site / "results").glob("*.html"))
    assert [f.stem for f in (ROOT / "figures").glob("*.json") if f'data-chart="{f.stem}"' not in text] == []

def test_the_api_has_every_name_and_the_shape_of_every_parameter(site):
    from website import api, notebooks
    lost = []
    for notebook in api.modules():
        where = notebooks.module(notebook)
        text = (site / "api" / f"{where}.html").read_text(encoding="utf-8")
        module = ROOT / "collapse_nb" / f"{where.replace('.', '/')}.py"
        tree, _ = api.parse(module.read_text(encoding="utf-8"))
        lost += [f"{where}.{name}" for name in api.public(tree)
                 if f'id="collapse_nb.{where}.{name}"' not in text]
    assert lost == []
    zoo, abundance = ((site / "api" / f"{name}.html").read_text(encoding="utf-8")
                      for name in ("nn.zoo", "abundance"))
    assert ("embedding table E (…, D, K): cardinality x embedding dim" in abundance
            and "multiplies K (SE) or the number of sets M" in zoo)
    assert ('id="collapse_nb.abundance.Spectrum.merge"' in abundance
            and "01_information_abundance.html#source-abundance" in abundance)


@pytest.mark.parametrize("source, comments", [
    ("def f(\n    x: int, # rows\n    y=(1,\n       2), # cols\n) -> int: # cells\n    'Doc.'",
     ["x rows", "y cols", "returns cells"]),
    ("def f(x: 'T', *, k: int = 1): pass # no place for a comment", ["x `T`", "k `int`"]),
])
def test_comments_find_their_parameters(source, comments):
    from website import api
    tree, notes = api.parse(source)
    node = tree.body[0]
    documented = [f"{name} {note}"
                  for name, note in api.parameters(node, notes)] + [f"returns {api.returned(node, notes)}"]
    assert [s for s in comments if s not in documented] == []

def test_directives_are_obeyed(tmp_path):
    from website.gallery import Gallery
    from website.notebooks import NBS, Page
    page = Page(NBS / "index.ipynb", Gallery(tmp_path), "https://host")
    assert page.code("#| hide\nx = 1") == page.code("#| default_exp a") == ""
    assert ("#|" not in page.code("#| eval: false\nx = 1") and "imports" in page.code("import os")
            and "imports" not in page.code("f()"))
    assert page.prose("[a](00_preliminaries.ipynb#x) `information_abundance` [l](../LICENSE) "
                      "`nothing_of_ours`") == (
        "[a](/paper/00_preliminaries.md#x) {py:obj}`information_abundance "
        "<collapse_nb.abundance.information_abundance>` [l](https://host/blob/main/LICENSE) "
        "`nothing_of_ours`")


def test_the_archive_draws_a_figure(site, tmp_path):
    "Whoever has only the site has the project: unpacked, it redraws what the front page shows."
    shutil.unpack_archive(site / "collapse_nb.tar.gz", tmp_path)
    tree, figure = tmp_path / "collapse_nb", "figures/fig7-hflights.svg"
    (tree / figure).unlink()
    env = os.environ | {"PYTHONPATH": str(tree)}
    subprocess.run([sys.executable, "docs/figures.py", "fig7"], cwd=tree, env=env, check=True,
                   capture_output=True)
    assert (tree / figure).read_bytes() == (ROOT / figure).read_bytes()
    dry = subprocess.run(["make", "-n", "-C", tree, "sweep", "site"], capture_output=True, text=True).stdout
    assert "papermill" in dry and "-m website" in dry


def test_nbdev_docs_prepares_every_notebook_and_leaves_the_readme(tmp_path):
    "What Quarto, of which there is a stand-in here, is asked for by nbdev_docs."
    names = [f.relative_to(ROOT / "nbs") for f in (ROOT / "nbs").rglob("[!.]*.ipynb")
             if ".ipynb_checkpoints" not in f.parts]
    left = shutil.ignore_patterns(".*", "__pycache__")
    for folder in "nbs", "collapse_nb": shutil.copytree(ROOT / folder, tmp_path / folder, ignore=left)
    for file in "settings.ini", "README.md", "pyproject.toml": shutil.copy(ROOT / file, tmp_path)
    (tmp_path / "README.md").write_text("of make readme")
    os.utime(tmp_path / "README.md", (0, 0)) # older than any notebook
    quarto = tmp_path / "bin" / "quarto"
    quarto.parent.mkdir()
    quarto.write_text('#!/bin/sh\necho "$@" >> "$(dirname "$0")/asked"\nmkdir -p _docs && cp -r *.yml '
                      '*.ipynb */ _docs 2>/dev/null\ntrue\n')
    quarto.chmod(0o755)
    env = os.environ | {"PYTHONPATH": str(tmp_path),
                        "PATH": f"{quarto.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run([Path(sys.executable).with_name("nbdev_docs")], cwd=tmp_path, env=env,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]
    assert (quarto.parent / "asked").read_text() == "render --no-cache\n"
    assert [n for n in names if not (tmp_path / "_docs" / n).is_file()] == []
    assert (tmp_path / "_docs" / "_quarto.yml").is_file()
    assert (tmp_path / "README.md").read_text() == "of make readme"
