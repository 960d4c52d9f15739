"Notebooks as MyST Markdown: nbdev's directives obeyed, links turned, outputs as a page shows them."
import ast
import html
import json
import os
import posixpath
import re
from collections import Counter
from functools import cache
from pathlib import Path

from readme import MARK

from website.gallery import ROOT, Gallery

NBS = ROOT / "nbs"
DIRECTIVE = re.compile(r"#\|\s*([\w-]+)[ :]*(.*)")
FENCED = re.compile(r"(^```.*?^```[^\n]*$)", flags=re.M | re.S)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
CODE = re.compile(r"(?<![`\[{}\w])`([A-Za-z_]\w*)(\(\))?`(?![`\]])")


def text(source: str | list[str]) -> str: return source if isinstance(source, str) else "".join(source)

@cache
def read(file: Path) -> dict: return json.loads(file.read_text(encoding="utf-8"))


def listed() -> list[Path]:
    "Every notebook but the index: the paper in its order, then the library."
    files = [f for f in sorted(NBS.rglob("*.ipynb"))
             if not any(p[0] in "._" for p in f.relative_to(NBS).parts) and f.stem != "index"]
    return sorted(files, key=lambda f: (not f.name[0].isdigit(), f.relative_to(NBS).parts))

def docname(file: Path) -> str:
    "Where a notebook stands on the site."
    place = file.relative_to(NBS).with_suffix("").as_posix()
    return "guide" if place == "index" else f"{'paper' if file.name[0].isdigit() else 'library'}/{place}"

def title(file: Path) -> str:
    return re.search(r"^# (.+)", text(read(file)["cells"][0]["source"]), flags=re.M)[1]

def module(file: Path) -> str | None:
    "The module that a notebook exports, such as nn.zoo."
    source = "\n".join(text(c["source"]) for c in read(file)["cells"])
    directive = re.search(r"^#\| default_exp (\S+)", source, flags=re.M)
    return directive[1] if directive else None


def split(source: str) -> tuple[set[str], str]:
    "The directives at the head of a cell, and its code."
    lines, directives = source.splitlines(), set()
    while lines and (match := DIRECTIVE.match(lines[0])): directives.add(match[1]); lines.pop(0)
    return directives, "\n".join(lines).strip("\n")

def names(code: str) -> list[str]:
    "What a cell defines at its top level."
    defined = []
    for node in ast.parse(code).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef): defined.append(node.name)
        defined += [t.id for t in getattr(node, "targets", []) if isinstance(t, ast.Name)]
    return defined

def furniture(code: str) -> bool:
    "Whether a cell does nothing but import."
    if re.search(r"^[%!]", code, flags=re.M): return False
    return all(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.parse(code).body)

def label(where: str, name: str) -> str:
    """What links to a name lead to; a class and a function may differ in a capital alone, and targets have
    none."""
    return f"source-{where.replace('.', '-')}-{'class-' * name[0].isupper()}{name.lower().replace('_', '-')}"

@cache
def symbols() -> dict[str, str]:
    "Public name -> its full name, where only one module has it."
    index = ast.parse((ROOT / "collapse_nb" / "_modidx.py").read_text(encoding="utf-8"))
    full = [key.value for node in ast.walk(index) if isinstance(node, ast.Dict) for key in node.keys
            if isinstance(key, ast.Constant) and str(key.value).startswith("collapse_nb.")]
    modules = {f"collapse_nb.{module(f)}" for f in listed()}
    public = [name for name in full if name.rpartition(".")[0] in modules
              and not name.rpartition(".")[2].startswith("_")]
    once = Counter(name.rpartition(".")[2] for name in public)
    return {name.rpartition(".")[2]: name for name in public if once[name.rpartition(".")[2]] == 1}


def fenced(code: str, language: str) -> str:
    "A code block whose fence is longer than any in the code."
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`+", code) or [""]))
    return f"{fence}{{code-block}} {language}\n{code}\n{fence}"

def raw(markup: str) -> str: return f"```{{raw}} html\n{markup}\n```"

def table(markup: str, name: str = "Table; scrolls sideways") -> str:
    "A table that scrolls inside its own box; what pandas adds to style it is left to the site's style sheet."
    markup = re.sub(r"<style.*?</style>\s*", "", markup, flags=re.S)
    markup = re.sub(r'\s(id|border|style)="[^"]*"', "", markup)
    markup = re.sub(r"<t([dh])[^>]*>\s*(&nbsp;)?\s*</t[dh]>", r"<td></td>", markup)
    markup = re.sub(r"<td>([^<]{36,})</td>", r'<td class="long">\1</td>', markup)
    return raw('<div class="table" role="region" tabindex="0" '
               f'aria-label="{html.escape(name)}">\n{markup.strip()}\n</div>')


class Page:
    "One notebook on its way to the site."
    def __init__(self, file: Path, gallery: Gallery, git: str):
        self.file, self.gallery, self.git = file, gallery, git
        self.name, self.depth, self.drawn = docname(file), docname(file).count("/"), 0

    def link(self, match: re.Match) -> str:
        """A link as the site has it: notebooks are pages, figures are charts, other files are in the
        repository."""
        image, words, target, anchor = match[1], match[2], match[3], match[4] or ""
        path = Path(os.path.normpath(self.file.parent / target))
        if path.suffix == ".ipynb" and path.is_file(): return f"[{words}](/{docname(path)}.md{anchor})"
        if path.parent.name == "figures" and (chart := self.gallery.stored(path.stem, self.depth)):
            return f"\n\n{raw(chart)}\n\n" if image else f"[{words}](#result-{path.stem})"
        return f"[{words}]({self.git}/blob/main/{posixpath.normpath(path.relative_to(ROOT).as_posix())})"

    def prose(self, source: str) -> str:
        "Markdown with links turned, and the library's names linked to what documents them."
        parts = FENCED.split(source)
        for i, part in enumerate(parts[::2]):
            part = LINK.sub(self.link, part)
            lines = [line if line.startswith("#") else CODE.sub(self.name_link, line)
                     for line in part.splitlines()]
            parts[2 * i] = "\n".join(lines)
        return "".join(p if not i % 2 else re.sub(r"^```(\w+)", r"```{code-block} \1", p)
                       for i, p in enumerate(parts))

    def name_link(self, match: re.Match) -> str:
        full = symbols().get(match[1])
        return f"{{py:obj}}`{match[1]}{match[2] or ''} <{full}>`" if full else match[0]

    def code(self, source: str) -> str:
        "A code cell's input; an exported one can be linked to."
        directives, code = split(source)
        if directives & {"hide", "default_exp"} or not code.strip(): return ""
        block = fenced(code, "ipython3" if re.search(r"^[%!]", code, flags=re.M) else "python")
        if furniture(code):
            return "\n\n".join([raw('<details class="imports"><summary>imports</summary>'), block,
                                raw("</details>")])
        where = module(self.file)
        marks = [f"({label(where, name)})=" for name in names(code)
                 if name[0] != "_"] if directives & {"export", "exports"} else []
        return "\n".join([*marks, block])

    def output(self, out: dict) -> str:
        "One output, in the richest form that it has."
        data = {kind: value if isinstance(value, dict) else text(value)
                for kind, value in out.get("data", {}).items()}
        if out["output_type"] == "stream": return fenced(text(out["text"]).rstrip(), "text")
        if spec := data.get("application/vnd.vegalite.v5+json"):
            self.drawn += 1
            return raw(self.gallery.add(f"{self.file.stem}-{self.drawn}", spec, data["image/svg+xml"],
                                        self.depth))
        if svg := data.get("image/svg+xml"):
            name = self.gallery.name_of(svg)
            return raw(self.gallery.stored(name, self.depth)
                       if name else f'<figure class="chart">{svg}</figure>')
        if "text/html" in data: return table(data["text/html"])
        if "text/markdown" in data: return self.prose(data["text/markdown"])
        return fenced(data.get("text/plain", "").rstrip(), "text")

    def text(self) -> str:
        "The whole page."
        blocks = []
        for cell in read(self.file)["cells"]:
            source = text(cell["source"])
            if cell["cell_type"] == "markdown":
                # a page has one title
                blocks.append(self.prose(re.sub(r"^# ", "## ", source) if blocks else source))
            elif cell["cell_type"] == "code" and (code := self.code(source)):
                blocks += [code, *(f":::{{container}} output\n{self.output(out)}\n:::"
                                   for out in cell["outputs"])]
        if self.name == "guide":
            blocks[0] = "# Guide"
            blocks = [b.replace(MARK, "The [results](/results/index.md) have them all.") for b in blocks]
        blocks[0] += f"\n\n{self.kin()}"
        return "\n\n".join(blocks) + "\n"

    def kin(self) -> str:
        "Where the notebook and what it exports are."
        parts = [f"Notebook: `{self.file.relative_to(ROOT).as_posix()}`"]
        if where := module(self.file): parts.append(f"exports [collapse_nb.{where}](/api/{where}.md)")
        return f":::{{container}} kin\n{', '.join(parts)}\n:::"
