"""What the house's style says in numbers, held on every notebook, module and tracked text file.

Lines have at most 110 characters, which ruff holds; a parameter of what is public has its shape, unit or
meaning in a comment behind it."""
import ast
import json
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
from website import api

ROOT = Path(__file__).resolve().parents[1]
LINE = 110 # characters at most
NOT_OURS = re.compile(r"^(\.git|\.venv|runs|_proc|_docs|_site|build|dist|data/(raw|encoded))/|__pycache__|"
                      r"\.ipynb_checkpoints|\.egg-info|\.(pytest|ruff)_cache/|\.hypothesis/")
# a path of one machine; `../work/` and `https://host/work/` are none
MACHINE_PATH = re.compile(r"(?<![\w.])/(work|tmp|root|opt|home|Users)/\w")
# file -> the machine paths it may name, and why: none so far
LEGITIMATE: dict[str, set[str]] = {}


def short(path: Path) -> str: return path.relative_to(ROOT).as_posix()


@cache
def tracked() -> list[Path]:
    "Files under version control; in an unpacked archive, all but what is built or downloaded."
    try:
        listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True,
                                 check=True).stdout
    except (OSError, subprocess.CalledProcessError): listing = ""
    if listing: return [f for name in listing.split("\0") if name and (f := ROOT / name).is_file()]
    return [f for f in sorted(ROOT.rglob("*")) if f.is_file() and not NOT_OURS.search(short(f))]


NOTEBOOKS = [f for f in sorted((ROOT / "nbs").rglob("*.ipynb")) if ".ipynb_checkpoints" not in f.parts]


@cache
def read(notebook: Path) -> dict: return json.loads(notebook.read_text(encoding="utf-8"))

def code_cells(notebook: dict) -> list[dict]:
    return [c for c in notebook["cells"] if c["cell_type"] == "code"]

def lines(cell: dict) -> list[str]:
    "Lines of a cell that say something to Python: no blank lines, no nbdev directives."
    return [line for line in "".join(cell["source"]).splitlines() if line.strip()
            and not line.lstrip().startswith("#|")]

def parsed(cell: dict) -> ast.Module:
    "The cell's syntax tree; shell lines and magics, which are no Python, left out."
    return ast.parse("\n".join(line for line in lines(cell) if line[0] not in "%!"))

def is_module(notebook: dict) -> bool:
    return any("#| default_exp" in "".join(c["source"]) for c in code_cells(notebook))


def asserts(tree: ast.AST, helpers: frozenset[str] = frozenset()) -> bool:
    """Whether code tests something: an `assert`, or a call of test, test_..., assert_... or a helper that
    does."""
    called = (n.func for n in ast.walk(tree) if isinstance(n, ast.Call))
    names = (getattr(f, "attr", None) or getattr(f, "id", "") for f in called)
    return any(isinstance(n, ast.Assert)
               for n in ast.walk(tree)) or any(n in helpers or re.match(r"(test|assert)(_|$)", n)
                                               for n in names)

def furniture(tree: ast.Module) -> bool:
    "A cell of imports alone, or of nothing but directives."
    return all(isinstance(n, ast.Import | ast.ImportFrom) for n in tree.body)

def asserting_share(notebook: dict) -> float:
    """Part of the code cells, furniture aside, that assert something, be it by a helper that the notebook
    defines."""
    trees = [t for c in code_cells(notebook) if not furniture(t := parsed(c))]
    defined = (n for t in trees for n in t.body if isinstance(n, ast.FunctionDef))
    helpers = frozenset(n.name for n in defined if asserts(n))
    return sum(asserts(t, helpers) for t in trees) / len(trees) if trees else 1.


def faults(notebook: dict) -> list[str]:
    "What is wrong with a notebook, apart from its size in bytes."
    complaints = []
    for i, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code": continue
        if any(o["output_type"] == "error" for o in cell["outputs"]):
            complaints.append(f"cell {i} has an error among its outputs")
    if is_module(notebook) and (share := asserting_share(notebook)) < .25:
        complaints.append(f"{share:.0%} of its code cells assert something, of at least 25%")
    if (kernel := notebook["metadata"].get("kernelspec", {}).get("name")) != "python3":
        complaints.append(f"its kernel is {kernel}, not python3")
    if (tags := parameter_cells(notebook)) > 1:
        complaints.append(f"{tags} cells are tagged `parameters`, of at most one")
    return complaints

def parameter_cells(notebook: dict) -> int:
    return sum("parameters" in c["metadata"].get("tags", []) for c in notebook["cells"])

def machine_paths(text: str) -> set[str]: return {m.group() for m in MACHINE_PATH.finditer(text)}


def is_command(node: ast.FunctionDef) -> bool:
    "Whether it is one of the command line's, where each parameter has its help."
    return any(re.match(r"\w+\.command\(", ast.unparse(d)) for d in node.decorator_list)

def of_many_lines(node: ast.FunctionDef) -> bool:
    return max(n.end_lineno for n in (*api.arguments(node), node.returns) if n) > node.lineno

def public_functions(tree: ast.Module) -> list[tuple[str, ast.FunctionDef]]:
    "Functions that `__all__` lists and public methods of classes that it lists, `__init__` among them."
    names, functions = set(api.public(tree)), []
    for node in tree.body:
        if getattr(node, "name", None) not in names: continue
        if isinstance(node, ast.FunctionDef): functions.append((node.name, node))
        else:
            functions += [(f"{node.name}.{f.name}", f) for f in node.body if isinstance(f, ast.FunctionDef)
                          and (f.name in {"__init__", *api.PUBLIC} or not f.name.startswith("_"))]
    return functions

def uncommented(text: str) -> list[str]:
    "Parameters of a module's public functions, where the signature has several lines, without a comment."
    tree, notes = api.parse(text)
    return [f"{name}({arg.arg})" for name, node in public_functions(tree) if api.arguments(node)
            and of_many_lines(node) and not is_command(node)
            for arg in api.arguments(node) if arg.arg not in api.comments(node, notes)]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=short)
def test_notebook(notebook):
    assert faults(read(notebook)) == []
    assert notebook.stat().st_size <= 150_000


def test_papermill_notebooks_have_their_parameters():
    "Untagged, papermill's values land above the defaults, and a full run silently becomes a smoke run."
    run = set(re.findall(r"papermill (?:-\S+ )*(nbs/\S+\.ipynb)", (ROOT / "Makefile").read_text()))
    assert "nbs/06_scaling.ipynb" in run
    tags = {name: parameter_cells(read(ROOT / name)) for name in run if (ROOT / name).exists()}
    assert {name: count for name, count in tags.items() if count != 1} == {}


def test_no_machine_path():
    paths = {}
    for file in tracked():
        try: text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError: continue
        if wrong := machine_paths(text) - LEGITIMATE.get(short(file), set()): paths[short(file)] = wrong
    assert tracked() and paths == {}


def test_ruff_holds_the_length_of_lines():
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    assert ruff["line-length"] == LINE and "E" in ruff["lint"]["select"]
    assert not {"E", "E5", "E501"} & {*ruff["lint"]["ignore"]}


def test_parameters_have_their_shape_behind_them():
    modules = [f for f in sorted((ROOT / "collapse_nb").rglob("*.py")) if f.name != "_modidx.py"]
    bare = {short(f): lost for f in modules if (lost := uncommented(f.read_text(encoding="utf-8")))}
    assert modules and bare == {}


def cell(source: str, tags: tuple = (), outputs: tuple = ()) -> dict:
    return {"cell_type": "code", "source": source, "metadata": {"tags": list(tags)}, "outputs": list(outputs)}

def of_cells(*cells: dict, kernel: str = "python3") -> dict:
    return {"cells": list(cells), "metadata": {"kernelspec": {"name": kernel}}}

MODULE = [cell("#| default_exp a"), cell("#| export\nimport os"), cell("#| export\ndef f(): pass"),
          cell("%time f()\ntest_eq(f(), None)")]


def test_good_notebook_passes(): assert faults(of_cells(*MODULE)) == []

def test_helpers_that_assert_count():
    assert asserting_share(of_cells(cell("def close(a, b): assert a == b"), cell("close(1, 1)"), cell("f()"),
                                    cell("f()"))) == .5

@pytest.mark.parametrize("notebook, complaint", [
    (of_cells(*MODULE[:-1], *[cell("f()")] * 3), "0% of its code cells assert"),
    (of_cells(*MODULE, *[cell("f()")] * 3), "20% of its code cells assert"),
    (of_cells(*MODULE, cell("f(1)", outputs=({"output_type": "error"},))), "error among its outputs"),
    (of_cells(*MODULE, cell("a = 1", ["parameters"]), cell("b = 1", ["parameters"])), "2 cells are tagged"),
    (of_cells(*MODULE, kernel="conda-env"), "its kernel is conda-env"),
])
def test_faults_are_seen(notebook, complaint): assert [f for f in faults(notebook) if complaint in f]

@pytest.mark.parametrize("source, lost", [
    ("def f(\n    x, # (B, N)\n    y=(1,\n       2), # rows\n): pass", []),
    ("def f(\n    x,\n    y, # rows\n): pass", ["f(x)"]),
    ("def f(\n    x, y, # rows\n): pass", ["f(x)"]),
    ("def f(\n    x, *y, # rows\n    **z,\n): pass", ["f(x)", "f(z)"]),
    ("def f(x, y): pass", []),
    ("def g(\n    x,\n): pass", []), # `__all__` does not list it
    ("@app.command(epilog='')\ndef f(\n    x: Annotated[int, Option(help='rows')],\n): pass", []),
    ("class f:\n    def __init__(self,\n        x,\n    ): pass\n    def _h(self,\n        y,\n    ): pass",
     ["f.__init__(x)"]),
])
def test_parameters_without_a_comment_are_seen(source, lost):
    assert uncommented(f"__all__ = ['f']\n{source}") == lost

def test_machine_paths_are_seen():
    path = "/" + "work/shared"
    assert machine_paths(f'read("{path}")') == machine_paths(f"cd {path}") == {"/" + "work/s"}
    assert machine_paths(f"..{path} https://host{path}") == set()
