"""Imports point one way (the house's import graph), wherever in a module they stand.

Bottom to top: records, fields, results, allocation, abundance, stats -> nn -> data -> train -> the paper's
modules, serve -> cli; show stands aside, and nothing that trains or measures imports it. claims, which words
what show draws, reads rows of results and imports the paper's modules and show.
"""
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from import_graph import DRAWING, PACKAGE, drawing, module_graph, modules, reduced, room_graph

BASE = {"records", "fields"}
MEASURES = {"abundance", "stats", "findings", "ratios"}
PAPER = {"toy", "evidence", "frozen", "overfitting", "multi_embedding", "controls"}
NN = BASE | MEASURES
DATA = NN | {"nn", "show", "allocation", "results"}
TRAIN = DATA - {"show"} | {"data"}

# what each unit (a module or a folder of collapse_nb) may import besides itself
MAY_IMPORT = {"__init__": set(), "records": set(), "fields": {"records"}, "results": {"records"},
              "show": BASE | {"results"}, "nn": NN, "data": DATA, "train": TRAIN}
MAY_IMPORT |= {"allocation": set()} | dict.fromkeys(MEASURES, BASE) | {"findings": BASE | {"stats"}}
MAY_IMPORT |= {unit: TRAIN | PAPER - {unit} for unit in PAPER}
MAY_IMPORT["controls"] = MAY_IMPORT["controls"] | {"remedies"}
MAY_IMPORT["claims"] = BASE | MEASURES | PAPER | {"results", "show"}
MAY_IMPORT["ladder"] = BASE | MEASURES | {"nn", "claims", "controls"}
MAY_IMPORT["remedies"] = BASE | {"nn"}
MAY_IMPORT["rivals"] = BASE | MEASURES | {"nn", "claims", "controls"}
MAY_IMPORT["cuts"] = BASE | MEASURES | {"nn", "train", "claims"}
MAY_IMPORT["truths"] = BASE | MEASURES | {"data", "claims"}
MAY_IMPORT["general_law"] = BASE | MEASURES | {"nn", "train", "evidence", "claims", "show"}
MAY_IMPORT["prediction"] = BASE | MEASURES | {"nn", "data", "train", "evidence", "overfitting"}
MAY_IMPORT["checkpoints"] = BASE
YOURS = {"your_interaction", "your_sets", "random_tables", "diagnose", "monitor"}
MAY_IMPORT |= {unit: TRAIN | PAPER | {"checkpoints", "show"} | YOURS - {unit} for unit in YOURS}
MAY_IMPORT["serve"] = TRAIN - {"allocation", "results"} - MEASURES | {"train"}
MAY_IMPORT["study"] = BASE | MEASURES | {"results", "train", "data", "show"}
MAY_IMPORT["replay"] = {"records", "data", "results"}
MAY_IMPORT["full_run"] = {"records", "data", "results"}
MAY_IMPORT["answers"] = {"records", "data", "results", "show"}
MAY_IMPORT["trackers"] = BASE | {"data", "train", "monitor"}
MAY_IMPORT["terminal"] = BASE
MAY_IMPORT["cli_runs"] = MAY_IMPORT["cli_sweep"] = set(MAY_IMPORT)
MAY_IMPORT["cli_evidence"] = {"records", "show", "study", "replay", "terminal"}
MAY_IMPORT["cli"] = set(MAY_IMPORT)


def violations(package: Path) -> list[str]:
    "A sentence for every import that points the wrong way, every module without a place, and a cycle."
    modules_there, wrong = modules(package), []
    graph = module_graph(package)
    for name, targets in sorted(graph.items()):
        unit = name.split(".")[0] or "__init__"
        if unit not in MAY_IMPORT:
            wrong.append(f"{package.name}.{unit} is new: give it a place in the import graph, MAY_IMPORT in "
                         "tests/test_imports.py.")
            continue
        for target in sorted(targets):
            other = target.split(".")[0] or "__init__"
            if target not in modules_there: wrong.append(f"{name} imports {target}, which does not exist.")
            elif other not in MAY_IMPORT[unit] | {unit, "__init__"}:
                wrong.append(f"{name} imports {target}: of ours, {unit} may import "
                             f"{', '.join(sorted(MAY_IMPORT[unit])) or 'nothing'}.")
    try: TopologicalSorter({n: t - {""} for n, t in graph.items() if n}).prepare()
    except CycleError as err:
        wrong.append(f"modules import each other in a circle: {' -> '.join(err.args[1])}.")
    return wrong


def test_imports_point_one_way():
    assert len(modules(PACKAGE)) > 2, "no modules were found"
    assert violations(PACKAGE) == []


def test_the_graph_itself_has_no_circle_below_the_paper():
    tuple(TopologicalSorter({u: t for u, t in MAY_IMPORT.items() if u not in PAPER | YOURS}).static_order())


def test_map_is_drawn_from_the_code():
    "The drawing on the page `architecture` is of the code that is here: docs/import_graph.py writes it."
    assert DRAWING.read_text(encoding="utf-8") == drawing(room_graph())


def test_map_leaves_out_what_a_longer_way_says():
    assert reduced({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": {"b"}, "b": {"c"}, "c": set()}


def tree(folder: Path, files: dict[str, str]) -> Path:
    "A package named collapse_nb with these files and the house's usual ones, all empty."
    package = folder / "collapse_nb"
    usual = dict.fromkeys(["__init__", "records", "fields", "abundance", "nn/__init__", "nn/zoo",
                           "train/__init__", "train/fit", "cli",
                           "show/__init__", "show/charts"], "")
    for name, text in (usual | files).items():
        file = package / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return package


@pytest.mark.parametrize("name, text, complaint", [
    ("nn/zoo", "from ..train.fit import fit", "nn.zoo imports train.fit"),
    ("nn/zoo", "from collapse_nb.train import fit", "nn.zoo imports train.fit"),
    ("nn/zoo", "from .. import train", "nn.zoo imports train:"),
    ("nn/__init__", "from ..cli import main", "nn imports cli"),
    ("fields", "def late():\n    import collapse_nb.abundance as a", "fields imports abundance"),
    ("records", "import collapse_nb.fields", "of ours, records may import nothing"),
    ("abundance", "from . import stats", "abundance imports stats"),
    ("train/fit", "from ..show.charts import chart", "train.fit imports show.charts"),
    ("show/charts", "from ..abundance import information_abundance",
     "of ours, show may import fields, records"),
    ("evidence", "if True:\n    from .train.fit import fit", "evidence imports train.fit"),
    ("toy", "import importlib; importlib.import_module('collapse_nb.cli')", "toy imports cli"),
    ("surprise", "", "collapse_nb.surprise is new: give it a place in the import graph"),
    ("nn/zoo", "from .layers import Hidden", "nn.zoo imports nn.layers, which does not exist"),
])
def test_wrong_imports_are_seen(tmp_path, name, text, complaint):
    files = {"stats": ""} if "stats" in text else {}
    assert any(complaint in sentence for sentence in violations(tree(tmp_path, files | {name: text})))


def test_circles_are_seen(tmp_path):
    circle = {"evidence": "from .diagnose import diagnose",
              "diagnose": "def f():\n    from .evidence import collapse_law"}
    assert "in a circle" in violations(tree(tmp_path, circle))[-1]


def test_right_imports_pass(tmp_path):
    right = {"nn/zoo": "import torch\nfrom .. import __version__\nfrom ..records import Record\nfrom . "
                       "import layers", "nn/layers": "",
             "cli": "from .train import fit\nfrom .toy import x\nfrom collapse_nb import __version__",
             "toy": "from .nn.zoo import build"}
    assert violations(tree(tmp_path, right)) == []
