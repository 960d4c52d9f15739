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
        # a chart without its data, as the explorer's, gets its words with them
        if drawn and not (values.get("alt") or values.get("aria-label") or "").strip():
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
    page = Page(NBS / "index.ipynb", Gallery(tmp_path))
    nothing = [page.code(f"#| {directive}\nx = 1") for directive in ("hide", "default_exp a", "echo: false")]
    assert nothing == [""] * 3
    shown = [page.code(f"#| {directive}\nx = 1") for directive in ("eval: false", "code-fold: false")]
    assert ["#|" in code for code in shown] == [False] * 2 and all("x = 1" in code for code in shown)
    assert page.prose("[a](00_preliminaries.ipynb#x) `information_abundance` [l](../LICENSE) "
                      "`nothing_of_ours` [d](../data)") == (
        "[a](/paper/00_preliminaries.md#x) {py:obj}`information_abundance "
        '<collapse_nb.abundance.information_abundance>` <a class="reference" '
        'href="_static/project/LICENSE">l</a> `nothing_of_ours` d')
    assert (tmp_path / "project" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def cell(kind, source, outputs=(), tags=()):
    "A cell of a notebook; an output is the text that it prints."
    made = {"cell_type": kind, "source": source, "metadata": {"tags": list(tags)} if tags else {}}
    prints = [{"output_type": "stream", "text": text} for text in outputs]
    return made | ({"outputs": prints} if kind == "code" else {})

def written(tmp_path, monkeypatch, name, *cells):
    "A page made of these cells."
    from website import notebooks
    from website.gallery import Gallery
    whole = {"cells": [cell("markdown", "# Title\n\n> About."), *cells]}
    monkeypatch.setattr(notebooks, "read", lambda _: whole)
    return notebooks.Page(notebooks.NBS / name, Gallery(tmp_path)).text()

DEFINITION = "def double(x):\n    return 2 * x"

def test_code_of_the_paper_is_folded_and_says_what_it_is(tmp_path, monkeypatch):
    page = written(tmp_path, monkeypatch, "01_information_abundance.ipynb",
                   cell("code", "#| default_exp abundance"),
                   cell("code", "import os"), cell("code", "k: int = 1", tags=["parameters"]),
                   cell("code", f"#| export\n{DEFINITION}"), cell("code", "x = 1\nassert double(x) == 2"),
                   cell("code", "print(double(2))", ["four"]), cell("code", "run()"),
                   cell("markdown", "Text."), cell("code", "test_eq(double(1), 2)"))
    heads = re.findall(r"<summary>(.*?)</summary>", page)
    assert heads == ["imports; parameters; code: defines <code>double</code>; test", "code", "test"]
    assert page.startswith("# 01 Title") and page.count("<details") == page.count("</details>") == 3
    # what the fold's last cell prints stands below it
    assert page.index("</details>") < page.index("four") < page.index("run()")
    assert "(source-abundance-double)=" in page

def test_a_cell_may_be_shown_or_show_its_output_alone(tmp_path, monkeypatch):
    cells = (cell("code", f"#| code-fold: false\n{DEFINITION}"),
             cell("code", "#| echo: false\nsay('hidden')", ["the answer"]),
             cell("code", "#| hide\nsecret()"))
    page = written(tmp_path, monkeypatch, "01_information_abundance.ipynb", *cells)
    assert "<details" not in page and "def double" in page and "the answer" in page
    assert "hidden" not in page and "secret" not in page
    library = written(tmp_path, monkeypatch, "stats.ipynb", cell("code", DEFINITION),
                      cell("code", "import os"))
    assert re.findall(r"<summary>(.*?)</summary>", library) == ["imports"] and library.startswith("# Title")

def test_folds_in_markdown_have_markdown_in_them(tmp_path, monkeypatch):
    fold = ("<details><summary>How</summary>\n\n### Step\n\n*slowly*\n\n```\n# a comment\n```\n\n"
            "</details>")
    page = written(tmp_path, monkeypatch, "01_information_abundance.ipynb", cell("markdown", fold),
                   cell("markdown", "## After"))
    assert ":::{rubric} Step\n:::" in page and "# a comment" in page and "\n## After" in page

@pytest.mark.parametrize("code, tags, shows, kind", [
    ("import os\nfrom a import b", [], False, "imports"),
    ("k: int = 1", ["parameters"], False, "parameters"),
    ("for x in y:\n    test_close(x, 1)\nassert y", [], False, "test"),
    ("test_eq(1, 1)\nshow()", [], False, "code"), ("assert x\nx", [], True, "code"),
    ("x = 1", [], False, "code"), ("%time f()", [], False, "code"),
    ("class A: pass\ndef f(): pass", [], False, "code: defines <code>A</code>, <code>f</code>")])
def test_a_summary_says_what_is_in_a_fold(code, tags, shows, kind):
    from website.folds import fold, summary
    assert summary([fold(code, tags, shows)]) == kind


def test_verdicts_come_first_whatever_the_cells_look_like():
    "As a Styler writes them, with attributes, and as a plain frame does; numbers of rows stay before them."
    from website.tables import relaid
    styled = ('<style>x</style><table id="T_1"><thead><tr><th class="blank">&nbsp;</th><th>claim</th>'
              '<th>p</th><th>verdict</th></tr></thead><tbody><tr><th>1</th><td class="data row0" >A claim of '
              'more than thirty-six characters in all</td><td>&lt; .01</td><td>does not hold</td>'
              "</tr></tbody></table>")
    page = relaid(styled)
    order = [page.index(part) for part in ("1</th>", "does not hold", "A claim", "&lt; .01")]
    assert order == sorted(order) and 'class="long"' in page and "style" not in page
    assert '<span class="verdict does-not-hold">does not hold</span>' in page and 'data-label="p"' in page
    assert relaid(page).count('class="verdict') == 1
    plain = relaid("<table><tr><th>a</th></tr><tr><td>1</td></tr></table>")
    assert plain == "<table><tr><th>a</th></tr><tr><td>1</td></tr></table>"

def test_rows_that_share_a_cell_keep_their_verdicts():
    from website.tables import relaid
    page = relaid('<table><thead><tr><th>&nbsp;</th><th>&nbsp;</th><th>p</th><th>ME is better</th></tr>'
                  '<tr><th>model</th><th>size</th><th>&nbsp;</th><th>&nbsp;</th></tr></thead><tbody>'
                  '<tr><th rowspan="2">DNN</th><th>4x</th><td>.1</td><td>holds</td></tr>'
                  '<tr><th>10x</th><td>.2</td><td>cannot tell</td></tr></tbody></table>')
    assert page.count("<tr") == 3 and page.count("DNN") == 2 and "rowspan" not in page
    assert page.index(">model<") < page.index(">size<") < page.index("ME is better") < page.index(">p<")


def test_what_is_lacking_is_said_and_the_build_ends_with_it(tmp_path, capsys):
    from website.missing import INCOMPLETE, Missing
    missing = Missing()
    old, absent, broken, good = (tmp_path / f"{name}.csv" for name in ("old", "absent", "broken", "good"))
    old.write_text("model,auc\nDNN,1\n")
    good.write_text("model,test_auc\nDNN,1\n")
    broken.write_text("")
    columns = ["model", "test_auc"]
    assert missing.rows(good, columns).test_auc.tolist() == [1] and missing.report() == 0
    assert missing.rows(absent, columns, optional=True) is None and missing.report() == 0
    assert [missing.rows(f, columns) for f in (old, absent, broken)] == [None] * 3
    assert missing.made("page", lambda: {}["seeds"]) is None
    assert "older schema" in missing.notice(old) and "test_auc" in missing.notice(old)
    assert all(word in missing.notice(absent) for word in ("absent.csv", "make results"))
    assert not missing.notice(good)
    missing.note("page", "said twice")
    capsys.readouterr()
    assert missing.report() == INCOMPLETE
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["old.csv", "absent.csv", "broken.csv", "page"]

def test_a_build_that_lacks_something_is_whole_and_does_not_end_well(tmp_path, monkeypatch, capsys):
    "What takes time is left out of the build; what was noted while pages were written ends it with 3."
    from website import __main__ as building
    from website.missing import INCOMPLETE, missing
    finished = []
    for name in ("assets", "archive"): monkeypatch.setattr(building, name, lambda _: None)
    monkeypatch.setattr(building.llms, "write", lambda *_: finished.append("llms"))
    monkeypatch.setattr(building, "sphinx", lambda _: 0)
    monkeypatch.setattr(building, "sources", lambda _: missing.note("results", "runs.csv is not there."))
    assert building.main(tmp_path) == INCOMPLETE and finished == ["llms"]
    assert "results: runs.csv is not there." in capsys.readouterr().out
    monkeypatch.setattr(building, "sources", lambda _: None)
    assert building.main(tmp_path) == 0 # the next build begins with an empty list

def test_a_figure_that_is_not_there_is_said_at_its_place(tmp_path, monkeypatch):
    from website import notebooks
    from website.missing import Missing
    monkeypatch.setattr(notebooks, "missing", lost := Missing())
    page = written(tmp_path, monkeypatch, "01_information_abundance.ipynb",
                   cell("markdown", "Before ![a finding](../figures/nowhere.svg) after"))
    assert "nowhere.svg is not among the figures" in page and "after" in page and lost.report()


def test_no_page_names_a_host_that_nobody_owns(site):
    "Neither the project's pages nor what is copied beside them link to an address of settings.ini."
    from configparser import ConfigParser
    config = ConfigParser()
    config.read(ROOT / "settings.ini")
    made_up = [config["DEFAULT"][name].removeprefix("https://") for name in ("doc_host", "git_url")]
    files = [*site.rglob("*.html"), *site.glob("*.txt"), *site.glob("_static/*.js")]
    assert [f.name for f in files if any(host in f.read_text(encoding="utf-8") for host in made_up)] == []

def test_the_benchmarks_stand_apart_from_the_paper(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    caption = r'class="caption"[^>]*><span class="caption-text">([^<]+)</span></p>\s*<ul[^>]*>(.*?)</ul>'
    groups = dict(re.findall(caption, text, flags=re.S))
    numbers = {name: re.findall(r">(\d\d) [^<]+</a>", links) for name, links in groups.items()}
    assert numbers["Benchmarks"] == ["08", "09", "10", "11", "13", "14"]
    assert numbers["The paper"][:7] == [f"0{n}" for n in range(7)] and "12" in numbers["The paper"]
    assert numbers["Using it"] == ["07"]
    page = (site / "paper" / "01_information_abundance.html").read_text(encoding="utf-8")
    assert "<title>01 Information abundance" in page


def test_the_sidebar_is_that_of_the_page():
    "As Sphinx would have made it: what the page stands in is current, its own link leads to its top."
    from website.conf import navigation
    item = '<li class="toctree-l{}"><a class="reference internal" href="{}">x</a>'
    whole = (f"<ul>\n{item.format(1, 'a.html')}</li>\n{item.format(1, 'b/index.html')}<ul>\n"
             f"{item.format(2, 'b/c.html')}</li>\n</ul>\n</li>\n</ul>")
    page = navigation(whole, "b/c.html")
    assert re.findall('href="([^"]*)"', page) == ["../a.html", "index.html", "#"]
    levels = re.findall('li class="([^"]*)"', page)
    assert levels == ["toctree-l1", "toctree-l1 current", "toctree-l2 current"]
    assert page.count('<ul class="current">') == 2 and 'class="current reference internal" href="#"' in page
    assert navigation(whole, "index.html") == whole

def test_llms_txt_lists_every_page_and_the_whole_text_is_markdown(site):
    listing = (site / "llms.txt").read_text(encoding="utf-8")
    assert re.match(r"# collapse_nb\n\n> .+\n\n", listing)
    links = re.findall(r"^- \[[^\]]+\]\(([^)]+)\)(: .+)?$", listing, flags=re.M)
    assert [target for target, _ in links if not (site / target).is_file()] == []
    there = {f.relative_to(site).as_posix() for part in ("paper", "library", "results") for f in
             (site / part).rglob("*.html")} - {"library/index.html"}
    assert there - {target for target, _ in links} == set()
    assert [target for target, about in links if target.startswith("paper/") and not about] == []
    whole = (site / "llms-full.txt").read_text(encoding="utf-8")
    outside = "".join(re.split(r"^(`{3,}).*?^\1$", whole, flags=re.M | re.S)[::2])
    assert re.findall(r"^:::.*|\{py:obj\}|\{raw\}|^<(?:div|figure|details)", outside, flags=re.M) == []
    assert "# 01 Information abundance" in whole and "def information_abundance" in whole


def test_the_page_on_ones_own_model_measures_it(tmp_path):
    "Its lines, run on a checkpoint, tell a collapsed table from one that is not, and write the page."
    import torch
    text = (ROOT / "docs" / "website" / "pages" / "measure.md").read_text(encoding="utf-8")
    script = tmp_path / "measure.py"
    script.write_text(re.search(r"^```python\n(.*?)^```$", text, flags=re.M | re.S)[1])
    torch.manual_seed(0)
    wide = torch.randn(500, 8) * torch.empty(500, 1).exponential_()
    low = wide[:, :2] @ torch.randn(2, 8) + .001 * torch.randn(500, 8)
    torch.save({"epoch": 3, "model": {"user_emb.weight": wide, "ad_emb.weight": low, "fc.bias": torch.ones(8),
                                      "fc.weight": torch.eye(8)}}, tmp_path / "checkpoint.pt")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[2:4]] == ["healthy", "low rank"]
    assert "fc.weight" in done.stdout and "<h1>" in (tmp_path / "report.html").read_text(encoding="utf-8")


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
    # cells that import are run, and chapters' answers are looked up in the findings
    shutil.copytree(ROOT / "data", tmp_path / "data", ignore=shutil.ignore_patterns("raw", "encoded"))
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


def test_pages_without_their_rows_say_so_and_the_others_are_written(tmp_path):
    "Every page is written from a copy of the project in which four stored tables are broken."
    tree, out = tmp_path / "tree", tmp_path / "out"
    for folder in ("collapse_nb", "data", "docs", "figures", "nbs"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns(".*", "raw", "encoded"))
    for file in [*ROOT.glob("*.md"), ROOT / "settings.ini", ROOT / "LICENSE"]: shutil.copy(file, tree)
    rows = tree / "data" / "results"
    for name, column in ("runs-hflights", "model"), ("findings-04-hflights", "verdict"):
        head, rest = (rows / f"{name}.csv").read_text(encoding="utf-8").split("\n", 1)
        columns = head.split(",")
        columns[columns.index(column)] = "renamed"
        (rows / f"{name}.csv").write_text(",".join(columns) + "\n" + rest, encoding="utf-8")
    (rows / "findings-06-hflights.csv").unlink()
    (rows / "table1-synthetic.csv").unlink()
    script = ("import sys\nfrom pathlib import Path\nfrom website.__main__ import sources\n"
              "from website.missing import missing\nout = Path(sys.argv[1])\n(out / '_static').mkdir(parents="
              "True)\nsources(out)\nsys.exit(missing.report())")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tree / "docs"), str(tree)])}
    done = subprocess.run([sys.executable, "-c", script, out], cwd=tree, env=env, capture_output=True,
                          text=True)
    assert done.returncode == 3 and "Traceback" not in done.stderr, done.stderr[-2000:]
    noted = {line.split(":")[0] for line in done.stdout.splitlines()}
    assert {"runs-hflights.csv", "findings-04-hflights.csv", "findings-06-hflights.csv",
            "table1-synthetic.csv", "index", "guide"} <= noted
    assert str(tree) not in done.stdout
    pages = {f.relative_to(out).with_suffix("").as_posix(): f.read_text(encoding="utf-8")
             for f in out.rglob("*.md")}
    lacking = {name for name, text in pages.items() if "**Not shown.**" in text}
    assert {"index", "guide", "explorer", "results/hflights", "results/synthetic"} <= lacking
    assert "results/diabetes130" not in lacking and "paper/06_scaling" not in lacking
    assert all(name in pages["results/hflights"] for name in
               ("runs-hflights.csv", "findings-04-hflights.csv", "findings-06-hflights.csv"))
    assert "fig7-hflights" in pages["results/hflights"] and "@" not in pages["index"].split("\n\n")[1]
    assert 'make results' in pages["guide"].split("\n\n")[1] and "Your own table" in pages["guide"]
    data = (out / "_static" / "explorer-data.js").read_text(encoding="utf-8")
    assert '"synthetic":' in data
