"The API pages, read off the source: signatures, the comment on every parameter, the docstring."
import ast
import io
import re
import tokenize
from pathlib import Path
from typing import NamedTuple

from website import project
from website.gallery import ROOT
from website.notebooks import docname, label, listed, module

PUBLIC = {"__call__", "__iter__", "__len__", "__getitem__"}


class Source(NamedTuple):
    "A module's syntax tree, and its comments by line."
    tree: ast.Module
    notes: dict[int, str]


def parse(text: str) -> Source:
    "Parses a module and keeps its comments, which document its parameters."
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    notes = {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}
    return Source(Unquoted().visit(ast.parse(text)), notes)


def escaped(text: str) -> str:
    "Text as Markdown shows it literally; code in backticks stays code."
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(p if i % 2 else re.sub(r"([\\*_<>|$\[\]{}~#^@])", r"\\\1", p) for i, p in enumerate(parts))


LINK = re.compile(r"(\[[^\]]+\]\(https://[^)\s]+\))")

def described(node: ast.AST) -> str:
    "A docstring as Markdown: examples as code, links as links, the rest literally."
    parts = []
    for paragraph in (ast.get_docstring(node) or "").split("\n\n"):
        if paragraph.startswith(">>> "): parts.append(f"```pycon\n{paragraph}\n```")
        else:
            parts.append("".join(text if i % 2 else escaped(text)
                                 for i, text in enumerate(LINK.split(paragraph))))
    return "\n\n".join(parts)


def arguments(node: ast.FunctionDef) -> list[ast.arg]:
    "Every argument of a function but self and cls, in order."
    a = node.args
    all_arguments = [*a.posonlyargs, *a.args, *([a.vararg] if a.vararg else []), *a.kwonlyargs,
                     *([a.kwarg] if a.kwarg else [])]
    return [arg for arg in all_arguments if arg.arg not in ("self", "cls")]

def comments(node: ast.FunctionDef, notes: dict[int, str]) -> dict[str, str]:
    """Parameter -> its comment, where it has one: it stands on the line where the parameter, with its
    default, ends."""
    a, ends = node.args, {}
    with_defaults = [*zip([*a.posonlyargs, *a.args][::-1], a.defaults[::-1], strict=False),
                     *zip(a.kwonlyargs, a.kw_defaults, strict=True)]
    for arg, default in with_defaults: ends[arg.arg] = default.end_lineno if default else None
    lines = {arg.arg: ends.get(arg.arg) or arg.end_lineno for arg in arguments(node)}
    # of several on a line, the comment is the last one's
    last = {line: name for name, line in lines.items() if line < node.body[0].lineno}
    return {name: notes[line] for line, name in last.items() if notes.get(line)}

def parameters(node: ast.FunctionDef, notes: dict[int, str]) -> list[tuple[str, str]]:
    "Name and comment of every parameter; its type where there is no comment."
    by_parameter = comments(node, notes)
    kind = lambda arg: f"`{ast.unparse(arg.annotation)}`" if arg.annotation else ""
    return [(arg.arg, by_parameter.get(arg.arg) or kind(arg)) for arg in arguments(node)]

def returned(node: ast.FunctionDef, notes: dict[int, str]) -> str:
    return notes.get(node.returns.end_lineno, "") if node.returns else ""

class Unquoted(ast.NodeTransformer):
    "Annotations that name a class not yet made, without their quotes."
    def opened(self, annotation: ast.expr | None) -> ast.expr | None:
        quoted = isinstance(annotation, ast.Constant) and isinstance(annotation.value, str)
        return ast.parse(annotation.value, mode="eval").body if quoted else annotation
    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = self.opened(node.annotation)
        return node
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = self.opened(node.returns)
        return self.generic_visit(node)

def signature(node: ast.FunctionDef, method: bool = False) -> str:
    "The signature on one line; a method's without self."
    args = ast.unparse(node.args)
    if method: args = re.sub(r"^(self|cls)(, )?(/, )?", "", args)
    return f"({args})" + (f" -> {ast.unparse(node.returns)}" if node.returns else "")


def default(node: ast.AnnAssign) -> str:
    "A field's default, as the caller sees it: the first argument of pydantic's Field, if it is one."
    if node.value is None: return ""
    call = (isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name)
            and node.value.func.id in ("Field", "Slot", "field"))
    if not call: return " = " + ast.unparse(node.value)
    return (f" = {ast.unparse(node.value.args[0])}" if node.value.args else " = ..."
            if node.value.keywords[0].arg != "ge" else "")

def fields(node: ast.ClassDef) -> list[ast.AnnAssign]:
    "The fields of a record: what its constructor takes."
    return [n for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
            and not n.target.id.startswith("_")
            and not ast.unparse(n.annotation).startswith("ClassVar")]


def entry(kind: str, head: str, body: list[str], depth: int = 0, options: tuple[str, ...] = ()) -> str:
    "One directive of Sphinx's Python domain."
    fence = ":" * (5 - depth)
    return "\n".join([f"{fence}{{py:{kind}}} {head}", *(f":{o}:" for o in options), "", *body, fence])

def params(commented: list[tuple[str, str]]) -> list[str]:
    return [f":param {name}: {escaped(note) or '–'}" for name, note in commented]

def function(node: ast.FunctionDef, notes: dict[int, str], source: str = "", method: bool = False) -> str:
    "A function's or method's entry."
    kinds = {ast.unparse(d) for d in node.decorator_list}
    kind = "property" if kinds & {"property", "cached_property"} else "method" if method else "function"
    body = [described(node), "", *params(parameters(node, notes))]
    if note := returned(node, notes): body.append(f":returns: {escaped(note)}")
    options = tuple(o for o in ("classmethod", "staticmethod") if o in kinds)
    if kind == "property":
        options = (f"type: {ast.unparse(node.returns)}",) if node.returns else ()
        return entry(kind, node.name, body, 1, options)
    return entry(kind, node.name + signature(node, method), [*body, *(["", source, ""] if source else [])],
                 int(method), options)


def record(node: ast.ClassDef, notes: dict[int, str]) -> tuple[str, list[tuple[str, str]]]:
    "What a class is made from: its fields, or what its __init__ takes."
    own_fields = fields(node)
    constructor = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"),
                       None)
    if own_fields:
        parts = [f"{n.target.id}: {ast.unparse(n.annotation)}{default(n)}" for n in own_fields]
        return f"({', '.join(parts)})", [(n.target.id, notes.get(n.end_lineno)
                                          or f"`{ast.unparse(n.annotation)}`") for n in own_fields]
    if constructor: return signature(constructor, method=True), parameters(constructor, notes)
    return "", []

def klass(node: ast.ClassDef, notes: dict[int, str], source: str) -> str:
    "A class with its public methods."
    head, commented = record(node, notes)
    bases = ", ".join(f"`{ast.unparse(b)}`" for b in node.bases)
    body = [described(node), "", *([f"Base: {bases}", ""] if bases else []), *params(commented), "",
            source, ""]
    methods = [n for n in node.body if isinstance(n, ast.FunctionDef)
               and (not n.name.startswith("_") or n.name in PUBLIC)]
    return entry("class", node.name + head, body + [f"{function(n, notes, method=True)}\n" for n in methods])


def assigned(node: ast.stmt) -> list[tuple[str, ast.expr]]:
    "What a statement assigns to names, also of `A, B = 1, 2`."
    if not isinstance(node, ast.Assign | ast.AnnAssign): return []
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
        return [(t.id, v) for t, v in zip(target.elts, node.value.elts, strict=True)
                if isinstance(t, ast.Name)]
    return [(t.id, node.value) for t in getattr(target, "elts", [target]) if isinstance(t, ast.Name)]

def constant(name: str, expression: ast.expr, node: ast.stmt, notes: dict[int, str]) -> str:
    "A constant's entry; its comment stands at either end of the statement."
    value = ast.unparse(expression)
    body = [escaped(notes.get(node.end_lineno) or notes.get(node.lineno, "")), "",
            f"`{value}`" if len(value) <= 200 else ""]
    return entry("data", name, body)


def public(tree: ast.Module) -> list[str]:
    "What `__all__` lists."
    listing = next((n for n in tree.body if isinstance(n, ast.Assign)
                    and ast.unparse(n.targets[0]) == "__all__"), None)
    return ast.literal_eval(listing.value) if listing else []

def page(notebook: Path, static: Path) -> str:
    "The page of the module that a notebook exports."
    where = module(notebook)
    file = ROOT / "collapse_nb" / f"{where.replace('.', '/')}.py"
    tree, notes = parse(file.read_text(encoding="utf-8"))
    parts = [f"# collapse_nb.{where}", escaped(ast.get_docstring(tree) or ""),
             f":::{{container}} kin\nWritten in [{notebook.name}](/{docname(notebook)}.md); "
             f"{project.link('the module as a file', file, static, 1)}\n:::",
             f"```{{py:currentmodule}} collapse_nb.{where}\n```"]
    names = public(tree)
    for node in tree.body:
        parts += [constant(name, value, node, notes) for name, value in assigned(node) if name in names]
        if getattr(node, "name", None) not in names: continue
        source = f"[source](#{label(where, node.name)})"
        parts.append((klass if isinstance(node, ast.ClassDef) else function)(node, notes, source))
    return "\n\n".join(parts) + "\n"


def modules() -> list[Path]: return [f for f in listed() if module(f)]

def index() -> str:
    "The list of modules, bottom to top of the import graph as the notebooks have them."
    rows = []
    for file in modules():
        where = module(file)
        tree = ast.parse((ROOT / "collapse_nb" / f"{where.replace('.', '/')}.py").read_text(encoding="utf-8"))
        rows.append(f"| [collapse_nb.{where}](/api/{where}.md) | {escaped(ast.get_docstring(tree) or '')} |")
    toc = "\n".join(module(f) for f in modules())
    intro = ("Every public name, with the unit or shape of each parameter. *source* leads to the cell it is "
             "written in.")
    return "\n".join(["# API", "", intro, "",
                      "| module | what it is for |", "|---|---|", *rows, "", "```{toctree}", ":hidden:", "",
                      toc, "```", ""])
