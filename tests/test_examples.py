"Examples in docstrings give what they say, and numbers quoted there are those of data/results."
import ast
import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pandas as pd
import pytest
import typer

import collapse_nb
from collapse_nb.abundance import information_abundance
from collapse_nb.data.cards import load_card
from collapse_nb.evidence import collapse_law
from collapse_nb.fields import FieldSchema
from collapse_nb.nn.zoo import ModelSpec, build
from collapse_nb.train.fit import fit
from collapse_nb.train.recipe import Recipe
from collapse_nb.train.runs import RunStore
from collapse_nb.train.sweep import sweep

MODULES = sorted(m.name for m in pkgutil.walk_packages(collapse_nb.__path__, "collapse_nb.")
                 if m.name != "collapse_nb._modidx")
ENTRY_POINTS = [ModelSpec, build, fit, Recipe, sweep, RunStore, information_abundance, collapse_law]


def examples(module) -> list[doctest.DocTest]:
    return [test for test in doctest.DocTestFinder(exclude_empty=True).find(module) if test.examples]

def symbols(module) -> list[str]:
    "Functions and classes of a module that are public: its `__all__` has them, and they are its own."
    def own(name: str) -> bool:
        symbol = getattr(module, name)
        is_one = inspect.isclass(symbol) or inspect.isroutine(inspect.unwrap(symbol))
        return is_one and symbol.__module__ == module.__name__
    return [name for name in getattr(module, "__all__", []) if not name.startswith("_") and own(name)]

def without_example(module) -> list[str]:
    """Public symbols whose docstring shows no use of them.

    A command's docstring is what its --help prints, for people at a shell: its example is the line below."""
    shown = {test.name for test in examples(module)}
    shown |= {f"{module.__name__}.{command.callback.__name__}" for app in vars(module).values()
              if isinstance(app, typer.Typer) for command in app.registered_commands
              if (command.epilog or "").startswith("Example: collapse ")}
    return [name for name in symbols(module) if f"{module.__name__}.{name}" not in shown]

def complaints(tests: list[doctest.DocTest]) -> str:
    "What doctest prints of the examples that fail."
    text = []
    runner = doctest.DocTestRunner(verbose=False)
    for test in tests: runner.run(test, out=text.append)
    return "".join(text)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path) # what an example writes by a relative name does not stay
    assert complaints(examples(importlib.import_module(name))) == ""


@pytest.mark.parametrize("name", MODULES)
def test_every_public_symbol_has_an_example(name):
    assert without_example(importlib.import_module(name)) == []


@pytest.mark.parametrize("symbol", ENTRY_POINTS, ids=lambda symbol: symbol.__name__)
def test_entry_points_are_explained(symbol):
    "What, when, what goes wrong, an example that is found and run, and where to read on."
    doc = inspect.getdoc(symbol)
    for part in ("Raises", "Example:\n\n>>> ", "References: ", "(https://arxiv.org/abs/2310.04400)"):
        assert part in doc
    module = importlib.import_module(symbol.__module__)
    assert f"{symbol.__module__}.{symbol.__name__}" in [test.name for test in examples(module)]


def results(name: str) -> pd.DataFrame:
    return pd.read_csv(Path(__file__).resolve().parents[1] / "data" / "results" / f"{name}-hflights.csv")

def value(notebook: str, claim: str) -> float:
    "Of the one finding whose claim begins so."
    rows = results(f"findings-{notebook}")
    number, = rows.value[rows.claim.str.startswith(claim)]
    return number

def rho(state: str, statistic: str = "rank correlation") -> float:
    law = results("law")
    number, = law["mean"][(law.model == "FFM") & (law.state == state) & (law.statistic == statistic)].unique()
    return number

def dense_millions(design: str) -> float:
    cardinalities = [2] * len(load_card("criteo").published.cardinalities) # they do not enter
    model = build(ModelSpec("DCNv2", design, 10), FieldSchema(range(len(cardinalities)), cardinalities))
    return model.num_parameters()["dense"] / 1e6

def quoted() -> list[tuple[object, str]]:
    "What docstrings say of our own results, made again from the results."
    runs, table = results("runs"), results("table1")
    gain = f"{value('06', 'ME beats SE at 10x, mean over '):.4f}"
    return [
        (information_abundance, f"at K = 100 have {value('01', 'IA of DCNv2 10x is far lower'):.2f} of the "
                                "abundance of random"),
        (collapse_law, f"FFM has rho {rho('trained'):.2f}, and {rho('trained', 'at equal cardinality'):.2f} "
                       f"at equal log cardinality; trained on shuffled labels it has {rho('shuffled'):.2f}"),
        (ModelSpec, f"at 10x, ME beats SE by {gain} of test AUC, mean over the six models"),
        (build, f"DCNv2 at 10x has {dense_millions('SE'):.1f} million other parameters under SE and "
                f"{dense_millions('ME'):.1f} million"),
        (Recipe, f"abundance that is {value('01', 'IA is higher under SparseAdam'):.2f} higher under "
                 "SparseAdam"),
        (fit, f"stopped after {runs.epochs.min()} to {runs.epochs.max()} epochs"),
        (sweep, f"standard deviation of {table.sd.min():.4f} to {table.sd.max():.4f}, and ME beats SE by "
                f"{gain} at 10x"),
        (RunStore, f"{runs.group.nunique()} such folders with {len(runs)} runs"),
    ]

@pytest.mark.parametrize("symbol, sentence", quoted(), ids=lambda part: getattr(part, "__name__", ""))
def test_quoted_numbers_are_ours(symbol, sentence):
    assert sentence in re.sub(r"\s+", " ", inspect.getdoc(symbol))


def test_a_wrong_example_is_seen():
    module = type(doctest)("wrong")
    exec('def f():\n    """Doubles.\n\n    >>> f()\n    3\n    """\n    return 2', vars(module))
    module.f.__module__ = "wrong"
    assert "Got:\n    2" in complaints(examples(module))


def test_a_symbol_without_an_example_is_seen():
    module = type(doctest)("lone")
    exec('from functools import cache\nfrom pathlib import Path\n'
         '__all__ = ["f", "g", "C", "Path", "N"]\nN = 3\n'
         'def f():\n    """Three.\n\n    >>> f()\n    3\n    """\n    return 3\n'
         '@cache\ndef g(): "Four."\nclass C: "Five."\ndef h(): "Six."', vars(module))
    assert without_example(module) == ["g", "C"]


def test_the_site_shows_examples_as_code():
    from website.api import described
    source = 'def f():\n    """Counts *.\n\n    >>> f()\n    3\n\n    See [there](https://host/a_b).\n    """'
    text = described(ast.parse(source).body[0])
    assert text == "Counts \\*.\n\n```pycon\n>>> f()\n3\n```\n\nSee [there](https://host/a_b)."
