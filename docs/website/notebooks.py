"Notebooks as MyST Markdown: nbdev's directives obeyed, links turned, outputs as a page shows them."
import ast
import html
import json
import os
import re
from collections import Counter
from functools import cache
from pathlib import Path

from readme import MARK, spoken

from website import project
from website.folds import Fold, fold
from website.gallery import ROOT, Gallery
from website.missing import missing
from website.tables import relaid

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


def split(source: str) -> tuple[dict[str, str], str]:
    "The directives at the head of a cell with what they say, and its code."
    lines, directives = source.splitlines(), {}
    while lines and (match := DIRECTIVE.match(lines[0])):
        directives[match[1]] = match[2].strip()
        lines.pop(0)
    return directives, "\n".join(lines).strip("\n")

def names(code: str) -> list[str]:
    "What a cell defines at its top level."
    defined = []
    for node in ast.parse(code).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef): defined.append(node.name)
        defined += [t.id for t in getattr(node, "targets", []) if isinstance(t, ast.Name)]
    return defined

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
    "A table that scrolls inside its own box, its verdicts first."
    return raw('<div class="table" role="region" tabindex="0" '
               f'aria-label="{html.escape(name)}">\n{relaid(markup).strip()}\n</div>')

def heading(file: Path) -> str:
    "A notebook's title with the number that its name begins with."
    number = re.match(r"\d+", file.name)
    return f"{number[0]} {title(file)}" if number else title(file)

def unsectioned(source: str) -> str:
    "Markdown that stands in a fold, where a heading would open a section that ends outside of it."
    parts = FENCED.split(source)
    return "".join(part if i % 2 else re.sub(r"^#+ (.+)", r":::{rubric} \1\n:::", part, flags=re.M)
                   for i, part in enumerate(parts))


class Page:
    "One notebook on its way to the site."
    def __init__(self, file: Path, gallery: Gallery):
        self.file, self.gallery = file, gallery
        self.name, self.depth, self.drawn = docname(file), docname(file).count("/"), 0
        # code of the paper's notebooks is folded; the library's are read for their code
        self.folds = file.name[0].isdigit()

    def link(self, match: re.Match) -> str:
        """A link as the site has it: notebooks are pages, figures are charts, other files of the project are
        copied beside the pages."""
        image, words, target, anchor = match[1], match[2], match[3], match[4] or ""
        if target.startswith("/"): return match[0] # of the site already
        path = Path(os.path.normpath(self.file.parent / target))
        if path.suffix == ".ipynb" and path.is_file(): return f"[{words}](/{docname(path)}.md{anchor})"
        if path == ROOT / "docs" / "claims.md": # whose other sections the site has elsewhere
            return f"[{words}](/claims/index.md{anchor if anchor == '#what-was-not-run' else ''})"
        if path.parent.name == "figures" and (chart := self.gallery.stored(path.stem, self.depth)):
            return f"\n\n{raw(chart)}\n\n" if image else f"[{words}](#result-{path.stem})"
        if image and not path.is_file():
            lost = missing.note(path.name, f"{path.name} is not among the figures: `make figures` draws it.")
            return f"\n\n{lost}\n\n"
        return project.link(words, path, self.gallery.static, self.depth, anchor)

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
        if {"hide", "default_exp"} & set(directives) or directives.get("echo") == "false" or not code.strip():
            return ""
        block = fenced(code, "ipython3" if re.search(r"^[%!]", code, flags=re.M) else "python")
        where = module(self.file)
        marks = [f"({label(where, name)})=" for name in names(code)
                 if name[0] != "_"] if {"export", "exports"} & set(directives) else []
        return "\n".join([*marks, block])

    def folded(self, cell: dict) -> bool:
        "Whether a cell's code is shown on demand only."
        directives, code = split(text(cell["source"]))
        if not self.folds: return fold(code, [], False).kind == "imports"
        return directives.get("code-fold") != "false"

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
        blocks, folds, inside = [], [], 0
        def close() -> None:
            if folds: blocks.append(Fold.together(folds, raw))
            folds.clear()
        said = missing.made("guide", lambda: spoken(self.file)["cells"]) if self.name == "guide" else None
        for cell in said or read(self.file)["cells"]:
            source = text(cell["source"]).replace(MARK, "The [results](/results/index.md) have the matrix.")
            if cell["cell_type"] == "markdown":
                close()
                inside += source.count("<details")
                # a page has one title, with the notebook's number
                head = "## " if blocks else f"# {heading(self.file)}"
                source = re.sub(r"^# " if blocks else r"^# .+", head, source)
                blocks.append(self.prose(unsectioned(source) if inside else source))
                inside -= source.count("</details>")
            elif cell["cell_type"] == "code":
                directives, code = split(source)
                if {"hide", "default_exp"} & set(directives) or not code.strip(): continue
                outputs = [f":::{{container}} output\n{self.output(out)}\n:::" for out in cell["outputs"]]
                block = self.code(source)
                if block and self.folded(cell):
                    folds.append(fold(code, cell["metadata"].get("tags", []), bool(outputs), block))
                else:
                    close()
                    if block: blocks.append(block)
                if outputs or not self.folds: close()
                blocks += outputs
        close()
        if self.name == "guide": blocks[0] = f"# Guide\n\n{missing.notice('guide')}".strip()
        blocks[0] += f"\n\n{self.kin()}"
        return "\n\n".join(blocks) + "\n"

    def kin(self) -> str:
        "Where the notebook and what it exports are."
        parts = [f"Notebook: `{self.file.relative_to(ROOT).as_posix()}`"]
        if where := module(self.file): parts.append(f"exports [collapse_nb.{where}](/api/{where}.md)")
        paper = " paper" * self.folds
        return f":::{{container}} kin{paper}\n{', '.join(parts)}\n:::"
