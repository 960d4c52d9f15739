"What a folded cell's summary says is in it; cells that follow one another share a fold."
import ast
import html
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

# names that a summary lists; of more it says how many
LISTED = 6


class Fold(NamedTuple):
    "A folded cell: what kind of code it is, the names that it defines, and its block."
    kind: str
    names: tuple[str, ...]
    block: str

    @staticmethod
    def together(folds: Sequence["Fold"], raw: Callable[[str], str]) -> str:
        "Several cells behind one summary."
        head = f'<details class="code"><summary>{summary(folds)}</summary>'
        return "\n\n".join([raw(head), *(f.block for f in folds), raw("</details>")])


def summary(folds: Sequence[Fold]) -> str:
    "What is in a fold, as HTML: `imports`, `parameters`, `code: defines f`, `test` or `code`."
    names = list(dict.fromkeys(name for f in folds for name in f.names))
    written = [f"<code>{html.escape(name)}</code>" for name in names[:LISTED]]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    defines = f"code: defines {', '.join(written)}{more}"
    kinds = list(dict.fromkeys(f.kind for f in folds))
    if names and "code" in kinds: kinds.remove("code")
    return "; ".join(defines if kind == "defines" else kind for kind in kinds)


def parsed(code: str) -> list[ast.stmt] | None:
    "A cell's statements; None when it has magics, which are no Python."
    return None if re.search(r"^[%!]", code, flags=re.M) else ast.parse(code).body

def tests(node: ast.stmt) -> int | None:
    "How many checks a statement makes; None when it does something else besides preparing them."
    if isinstance(node, ast.Assert): return 1
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign): return 0
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        called = ast.unparse(node.value.func).split(".")[-1]
        return 1 if called.startswith("test_") else None
    if isinstance(node, ast.For | ast.With | ast.If):
        inner = [tests(n) for n in [*node.body, *getattr(node, "orelse", [])]]
        return None if None in inner else sum(inner)
    return None

def fold(code: str, tags: Sequence[str], shows: bool, block: str = "") -> Fold:
    "Looks at a cell: its code without directives, its tags, whether it has outputs."
    body = parsed(code)
    if "parameters" in tags: return Fold("parameters", (), block)
    if body is None: return Fold("code", (), block)
    if all(isinstance(node, ast.Import | ast.ImportFrom) for node in body): return Fold("imports", (), block)
    checks = [tests(node) for node in body]
    if not shows and None not in checks and sum(checks): return Fold("test", (), block)
    names = tuple(node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    return Fold("defines" if names else "code", names, block)
