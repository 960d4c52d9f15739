"""llms.txt and llms-full.txt (llmstxt.org): a list of the pages with a line each, and their whole text.

The text is that of the pages' sources, in which Sphinx's directives are turned back into plain Markdown.
"""
import html
import re
from pathlib import Path

from website.notebooks import FENCED, docname, listed
from website.tables import CELL, ROW, plain

RAW = re.compile(r"^(`{3,})\{raw\} html\n(.*?)^\1\n?", flags=re.M | re.S)
CODE = re.compile(r"^(`{3,})\{code-block\} (?:ipython3|(\w+))", flags=re.M)
TOCTREE = re.compile(r"^(`{3,})\{toctree\}\n(.*?)^\1\n?", flags=re.M | re.S)
ROLE = re.compile(r"\{py:obj\}`([^`<]+?)\s*(?:<[^`]*>)?`")
SUBTITLE = re.compile(r"^> (.+?)(?=\n\n|\Z)", flags=re.M | re.S)
SENTENCE = re.compile(r"^(?![#>|`*\-<]|Chart: |Notebook: |Written in )(.+?[.:])(?=\s|$)", flags=re.M | re.S)
HEAD = ("Embedding collapse in recommendation models, measured: the paper “On the Embedding Collapse When "
        "Scaling up Recommendation Models” (Guo et al. 2024) section by section, each claim with its verdict "
        "on public data, and the library that computed it.")


def table(markup: str) -> str:
    "An HTML table as a Markdown table."
    rows = [[plain(content).replace("|", "\\|").replace("\n", " ") for _, _, content in CELL.findall(row)]
            for row in ROW.findall(markup)]
    if not rows or not rows[0]: return ""
    caption = re.search(r"<caption[^>]*>(.*?)</caption>", markup, flags=re.S)
    lines = [f"| {' | '.join(row)} |" for row in rows]
    listing = "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])
    return f"{listing}\n\n*{plain(caption[1])}*" if caption else listing

def shown(block: re.Match) -> str:
    "What HTML shows, as Markdown: tables, the words of charts, the headings of folds, text."
    markup = block[2]
    parts = [table(part) for part in re.findall(r"<table.*?</table>", markup, flags=re.S)]
    parts += [f"Chart: {html.unescape(label)}" for label in
              re.findall(r'data-chart="[^"]*"[^>]*aria-label="([^"]*)"', markup)]
    if parts: return "\n\n".join(parts) + "\n"
    if "<form" in markup or "<svg" in markup: return ""
    return plain(re.sub(r"<noscript.*?</noscript>", "", markup, flags=re.S)) + "\n"

def markdown(source: str) -> str:
    "A page's source without Sphinx's and MyST's own notation."
    source = TOCTREE.sub("", RAW.sub(shown, source))
    source = CODE.sub(lambda m: f"{m[1]}{m[2] or 'python'}", source)
    parts = FENCED.split(source)
    for i, part in enumerate(parts):
        if i % 2: continue
        part = re.sub(r"^:::+\{rubric\} (.+)", r"**\1**", part, flags=re.M)
        part = re.sub(r"^(:{3,}.*|\([\w-]+\)=)\n", "", part, flags=re.M)
        part = re.sub(r"</?(details|summary|a)\b[^>]*>", "", part)
        parts[i] = ROLE.sub(r"`\1`", part)
    return re.sub(r"\n{3,}", "\n\n", "".join(parts)).strip() + "\n"


def line(out: Path, name: str) -> str:
    "A page in the list: its title, its address, and its subtitle or first sentence."
    text = markdown((out / f"{name}.md").read_text(encoding="utf-8"))
    head = re.search(r"^# (.+)", text, flags=re.M)
    below = text[head.end():] if head else text
    about = SUBTITLE.search(below) or SENTENCE.search(below)
    said = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", about[1]).replace("\n> ", " ") if about else ""
    said = " ".join(said.split())
    return f"- [{head[1] if head else name}]({name}.html)" + (f": {said}" if said else "")

def sections(out: Path) -> dict[str, list[str]]:
    "The pages of each section, by name; the long tail is optional, as llmstxt.org has it."
    there = {f.relative_to(out).with_suffix("").as_posix() for f in out.rglob("*.md")}
    numbered = [docname(f) for f in listed() if f.name[0].isdigit()]
    results = sorted(n for n in there if n.startswith(("results/", "claims/")))
    results.sort(key=lambda n: (n != "results/index", n))
    use = [n for n in ("guide", "measure", "explorer", "released", "threats", "cards", "api/index")
           if n in there]
    work = [n for n in ("contributing", "architecture", "glossary", "examples", "changelog") if n in there]
    library = [docname(f) for f in listed() if not f.name[0].isdigit()]
    return {"The paper, section by section": numbered, "Results": results, "Using it": use,
            "Working on it": work, "Optional": library}

def write(out: Path, site: Path) -> None:
    "Writes both files into the site, from the sources of its pages."
    listing = sections(out)
    parts = ["# collapse_nb", f"> {HEAD}",
             "All text of these pages is in [llms-full.txt](llms-full.txt) as Markdown; all code is in "
             "[collapse_nb.tar.gz](collapse_nb.tar.gz)."]
    for name, pages in listing.items():
        parts += [f"## {name}", "\n".join(line(out, page) for page in pages)]
    (site / "llms.txt").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    pages = ["index", *(page for group in listing.values() for page in group)]
    whole = [markdown((out / f"{page}.md").read_text(encoding="utf-8")) for page in dict.fromkeys(pages)]
    (site / "llms-full.txt").write_text("\n\n---\n\n".join(whole), encoding="utf-8")
