"""A notebook's parameters: the cell that papermill fills and the record that checks them say the same.

The cell says what a parameter is, in a comment; the record says what it may be. Where a record has a comment
too, as the shared `Study` and `Scaling` do, it is the cell's. A default that differed would turn a smoke run
into a full one.
"""
import ast
import inspect
import io
import json
import tokenize
from pathlib import Path
from typing import NamedTuple

import pytest

from collapse_nb.train import parameters

NBS = Path(__file__).resolve().parents[1] / "nbs"
# parameters of `Study` whose comment may say more in a notebook: which runs, which folder
OWN_WORDS = {"seeds", "max_epochs", "store", "out_dir"}


class Declared(NamedTuple):
    "A parameter as source text has it."
    default: object # lists as tuples
    comment: str    # empty where there is none


def comments(source: str) -> dict[int, str]: # line -> what stands behind its #
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}

def default(value: ast.expr) -> object:
    "A literal, or the first argument of pydantic's Field."
    literal = ast.literal_eval(value.args[0] if isinstance(value, ast.Call) else value)
    return tuple(literal) if isinstance(literal, list) else literal

def declared(body: list[ast.stmt], source: str) -> dict[str, Declared]:
    notes = comments(source)
    return {node.target.id: Declared(default(node.value), notes.get(node.end_lineno, ""))
            for node in body if isinstance(node, ast.AnnAssign)}

def record(name: str, sources: list[str]) -> dict[str, Declared]:
    "The fields of a record of the notebook or the library, those of the class it is made from first."
    for source in [*sources, inspect.getsource(parameters)]:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef) and node.name == name:
                base = node.bases[0].id
                return ({} if base == "Record" else record(base, sources)) | declared(node.body, source)
    raise AssertionError(f"there is no record {name}")


def read(path: Path) -> tuple[dict[str, Declared], dict[str, Declared]] | None: # of the cell, of the record
    cells = [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
    tagged = ["".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", [])]
    if not tagged: return None
    sources = [s for c in cells if not (s := "".join(c["source"])).lstrip().startswith("%")]
    calls = [n for s in sources for n in ast.walk(ast.parse(s)) if isinstance(n, ast.Call)
             and isinstance(n.func, ast.Name)]
    name, = {call.args[0].id for call in calls if call.func.id in ("begin", "read_parameters")}
    return declared(ast.parse(tagged[0]).body, tagged[0]), record(name, sources)


NOTEBOOKS = {path.stem: both for path in sorted(NBS.glob("*.ipynb")) if (both := read(path))}


def differences(cell: dict[str, Declared], fields: dict[str, Declared]) -> list[str]:
    "A sentence for every parameter that the two say differently."
    studied = set(parameters.Study.model_fields)
    # what a record inherits stands first in it, and in a cell wherever it reads best
    inherited = studied if studied <= fields.keys() else set()
    wrong = [f"{name} is declared in one of them alone" for name in sorted(cell.keys() ^ fields.keys())]
    for part in inherited, fields.keys() - inherited:
        order, other = ([name for name in names if name in part and name in cell] for names in (cell, fields))
        if order != other: wrong.append(f"the order is {order}, and {other}")
    for name in cell.keys() & fields.keys():
        (value, comment), (other, note) = cell[name], fields[name]
        if value != other: wrong.append(f"{name} is {value!r} by default, and {other!r}")
        if not comment: wrong.append(f"{name} has no comment in the cell")
        if note and name not in inherited & OWN_WORDS and comment != note:
            wrong.append(f"{name} is “{comment}”, and “{note}”")
    return wrong


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_cell_and_record_say_the_same(notebook): assert differences(*NOTEBOOKS[notebook]) == []

def test_all_studies_were_read():
    assert len(NOTEBOOKS) > 8 and {"06_scaling", "08_benchmarks"} <= NOTEBOOKS.keys()


CELL = 'rows: int = 5 # of the table\nnames: list = ["a"] # of them'
SAME = "class P(Record):\n    rows: int = 5\n    names: Names = ('a',) # of them"

@pytest.mark.parametrize("text, complaint", [
    (SAME, None),
    (SAME.replace("= 5", "= Field(5, ge=1)"), None),
    (SAME.replace("= 5", "= Field(6, ge=1)"), "rows is 5 by default, and 6"),
    (SAME.replace("('a',)", "('b',)"), "names is ('a',) by default"),
    (SAME.replace("names:", "name:"), "name is declared in one of them alone"),
    (SAME.replace("# of them", "# of all"), "names is “of them”, and “of all”"),
    ("class P(Record):\n    names: Names = ('a',)\n    rows: int = 5", "the order is"),
], ids=["the same", "with a range", "default", "list", "name", "comment", "order"])
def test_differences_are_seen(text, complaint):
    wrong = differences(declared(ast.parse(CELL).body, CELL), record("P", [text]))
    assert wrong == [] if complaint is None else any(complaint in sentence for sentence in wrong)
