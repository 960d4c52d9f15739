"Every stored finding has its claim of the paper and every claim a finding or a reason; what is made of them."
import json
import re

import jsonschema
import pandas as pd
import pytest
import readme
from register import RESULTS, SIGNS, Claim, Register, anchor, fits, matrix, not_run, sentence, worst
from website import claims as pages

from collapse_nb.records import InputError

ROW = {"claim": "IA is low", "where": "§3", "value": .2, "low": .1, "high": .3, "p": .2, "paper": "",
       "verdict": "cannot tell", "alone": "holds", "seeds": 5, "half_width": .1, "detectable": .14,
       "sought": .05, "seeds_needed": 40, "tests": 3, "dataset": "flights"}


@pytest.fixture(scope="module")
def register(): return Register()

@pytest.fixture
def written(tmp_path):
    "A register of its own: the text of claims.toml, and findings by file."
    def make(text, **tables):
        (tmp_path / "claims.toml").write_text(text, encoding="utf-8")
        for stem, rows in tables.items():
            name = "findings-" + stem.removeprefix("of_").replace("_", "-")
            pd.DataFrame(rows).to_csv(tmp_path / f"{name}.csv", index=False)
        return Register(tmp_path / "claims.toml", tmp_path)
    return make

def claim(id="3.1", **values):
    lines = {"id": id, "place": "§3", "says": "It is low.", **values}
    return "[[claim]]\n" + "\n".join(f"{name} = {json.dumps(value)}" for name, value in lines.items()) + "\n"


def test_nothing_stored_is_without_its_place(register): assert register.loose_ends == []

def test_a_finding_without_a_claim_and_a_claim_without_a_finding_are_seen(written):
    table = [ROW, ROW | {"claim": "IA is red"}]
    ends = written(claim(rows=["01: IA is low", "01: IA is blue"]), of_01_flights=table).loose_ends
    assert len(ends) == 2 and "'IA is red' has no claim" in ends[0] and "names '01: IA is blue'" in ends[1]
    ends = written(claim(rows=["01: *"], figure="fig99"), of_01_flights=table).loose_ends
    assert len(ends) == 1 and "the figure 'fig99'" in ends[0]

@pytest.mark.parametrize("text, sentence", [
    (claim(same_as="9.9"), "same as '9.9', which is no claim"),
    (claim(same_as="3.2") + claim("3.2", same_as="3.1"), "which is no claim that stands for itself"),
    (claim(rows=["01: *"]) * 2, "two claims 3.1"),
    (claim(rows=["IA grows"]), "write the notebook's number, a colon"),
    (claim(), "neither findings nor a reason"), (claim(rows=["01: *"], colour="red"), "colour"),
    ("x = [", "no TOML")])
def test_a_register_that_is_none_is_refused(written, text, sentence):
    with pytest.raises(InputError, match=sentence): written(text, of_01_flights=[ROW])

@pytest.mark.parametrize("spoil, sentence", [
    (lambda t: t.drop(columns="p"), "findings-01-flights.csv is of an older schema, without p"),
    (lambda t: t.assign(verdict="maybe"), "the verdict 'maybe', which is none of"), (lambda t: None, "")])
def test_findings_that_are_missing_or_old_are_refused_or_told(written, tmp_path, spoil, sentence):
    written(claim(rows=["01: IA is low"]), of_01_flights=[ROW], of_01_clicks=[ROW])
    file = tmp_path / "findings-01-flights.csv"
    pd.DataFrame({"run": ["01_abundance flights"]}).to_csv(tmp_path / "commands.csv")
    spoiled = spoil(pd.read_csv(file))
    if spoiled is None: file.unlink() # commands.csv says that it was there
    else: spoiled.to_csv(file, index=False)
    with pytest.raises(InputError, match=sentence or "no results at .*findings-01-flights"):
        Register(tmp_path / "claims.toml", tmp_path)
    told = {}
    register = Register(tmp_path / "claims.toml", tmp_path, note=told.setdefault)
    assert list(told) == ["findings-01-flights.csv"] and register.datasets == ["clicks"]

def test_every_claim_is_told_in_the_paper_s_order(register):
    def place(c): return [10**6] if c.is_ours else [int(part) for part in c.id.split(".")]
    names = list(register.claims.values())
    assert names == sorted(names, key=place) and len(names) > 80
    assert all(c.reason or len(register.rows(c)) for c in names)
    assert all(len(c.headline.removeprefix("Ours: ").split()) <= 6 for c in names)
    assert 20 <= len(register.headlines) <= 30

@pytest.mark.parametrize("values, sentence", [
    ({}, "neither findings nor a reason"), ({"rows": ["01: a"], "nothing": "b"}, "rows and nothing"),
    ({"rows": ["01: a"], "headline": "It is low"}, "what would change our mind")])
def test_a_claim_has_one_way_out(values, sentence):
    with pytest.raises(ValueError, match=sentence): Claim(id="3.1", place="§3", says="It is low.", **values)

@pytest.mark.parametrize("pattern, number, text, expected", [
    ("01: IA of * grows", "01", "IA of DNN grows", True),
    ("01: IA of * grows", "02", "IA of DNN grows", False),
    ("01: IA (K)", "01", "IA (K)", True), ("01: IA", "01", "IA grows", False), ("01: *", "01", "", True)])
def test_a_pattern_names_findings(pattern, number, text, expected):
    assert fits(pattern, number, text) == expected

@pytest.mark.parametrize("verdicts, expected", [
    (["holds", "holds"], "holds"), (["holds", "cannot tell"], "cannot tell"), ([], "not run here"),
    (["holds", "does not hold", "cannot tell"], "does not hold"), (["not run here"], "not run here"),
    (["not run here", "holds"], "holds")])
def test_a_claim_holds_where_all_its_findings_do(verdicts, expected): assert worst(verdicts) == expected

def test_what_refutes_a_claim_refutes_it_where_it_holds(written):
    text = claim(rows=["01: IA is low"], against=["01: IA is high"])
    low, high = ROW | {"verdict": "holds"}, ROW | {"claim": "IA is high"}
    for verdict, expected in ("holds", "does not hold"), ("does not hold", "holds"), ("cannot tell", "holds"):
        register = written(text, of_01_flights=[low, high | {"verdict": verdict}])
        assert register.outcomes(register.claims["3.1"]) == {"flights": expected}

def test_what_holm_took_away_is_said():
    told = lambda **values: sentence(pd.Series(ROW | values)).replace("\u00a0", " ")
    assert told() == (
        "IA is low: **cannot tell**, +0.20 (95 % interval +0.10 to +0.30); at face value yes; not among 3 "
        "tests, p = .200; known to ±0.10, 5 seeds would have seen 0.14; 0.05 needs 40")
    assert told(value=float("nan"), verdict="not run here") == "IA is low: **not run here**"
    assert "**holds**, 12" in told(value=12., low=12., high=12., verdict="holds")


def test_the_matrix_is_in_the_readme_and_leads_somewhere(register):
    text, page = ((readme.ROOT / name).read_text(encoding="utf-8")
                  for name in ("README.md", "docs/claims.md"))
    assert readme.headline_matrix(register) in text
    links = re.findall(r"\]\(docs/claims\.md#([\w-]+)\)", text)
    assert len(links) >= len(register.headlines)
    headings = {re.sub(r"[^\w\- ]", "", line).lower().replace(" ", "-")
                for line in re.findall("^## (.*)", page, re.M)}
    assert [a for a in links if f'<a id="{a}">' not in page and a not in headings] == []
    assert all(f'<a id="{anchor(c)}"></a>' in page for c in register.claims.values())
    cells = matrix(register, lambda c: c.id).drop(columns=["claim", "paper"])
    assert set(cells.to_numpy().ravel()) <= set(SIGNS.values())

def test_no_number_of_the_readme_s_opening_is_typed():
    "Up to the commands, every decimal number comes out of a cell."
    cells = readme.spoken().cells
    typed = [c.source for c in readme.nbformat.read(readme.ROOT / "nbs" / "index.ipynb", as_version=4).cells
             if c.cell_type == "markdown"]
    opening = typed[:next(i for i, text in enumerate(typed) if text.startswith("## Commands"))]
    assert [m for text in opening for m in re.findall(r"[+−]?\d*\.\d+", text) if m != "3.11"] == []
    assert len(re.findall(r"[+−]0\.\d+", cells[1].source)) > 10


def test_claims_json_keeps_to_its_schema(register):
    document = json.loads(pages.as_json(register).model_dump_json())
    schema = pages.Claims.model_json_schema()
    jsonschema.validate(document, schema)
    assert [c["id"] for c in document["claims"]] == list(register.claims)
    assert sum(len(c["findings"]) for c in document["claims"]) > 150
    described = [field for kind in (pages.Finding, pages.Entry) for name, field in kind.model_fields.items()
                 if not field.description and name not in ("verdict", "findings")]
    assert described == []

def test_a_page_says_its_outcome_first(register, tmp_path):
    from website.gallery import Gallery
    for name in ("5.2.5", "4.1.11", "2.1", "ours.1"):
        text = pages.page(register, register.claims[name], Gallery(tmp_path / name.replace(".", "-")))
        body = text.split("\n\n", 2)
        assert body[0].startswith("# Ours: " if name == "ours.1" else f"# {name} ") and "verdict" in body[1]
        assert "What would change our mind" in text or not register.claims[name].headline
        assert "make results" in text and "/_static/rows/findings-" in text


def test_a_stored_result_that_is_missing_or_old_is_said_at_its_place(tmp_path, monkeypatch):
    from website import results
    from website.missing import INCOMPLETE, Missing
    for file in RESULTS.glob("findings-0*.csv"): (tmp_path / file.name).write_bytes(file.read_bytes())
    old = pd.read_csv(tmp_path / "findings-06-hflights.csv").drop(columns="half_width")
    old.to_csv(tmp_path / "findings-06-hflights.csv", index=False)
    lacking = Missing()
    monkeypatch.setattr(results, "ROWS", tmp_path)
    monkeypatch.setattr(results, "missing", lacking)
    assert results.findings("06", "hflights") is None and results.findings("04", "hflights") is not None
    assert lacking.report() == INCOMPLETE
    said = "findings-06-hflights.csv is of an older schema, without the column half_width"
    assert said in str(lacking.notes)

def test_an_unknown_claim_is_refused(register):
    with pytest.raises(InputError, match="unknown claim"): register.claim("3.x")

def test_what_was_not_run_is_told_cell_by_cell(tmp_path):
    "Cells with runs lack more seeds, and models that lack the same stand together."
    assert not_run(tmp_path).empty
    ran = pd.DataFrame([["a", "DNN", "SE", 1], ["a", "DNN", "ME", 4]])
    ran.columns = ["dataset", "model", "design", "scale"]
    ran.to_csv(tmp_path / "runs-a.csv", index=False)
    left = [["a", "DNN", "SE", 1, 9, "too dear"], ["a", "DNN", "ME", 4, 9, "too dear"],
            ["a", "FM", "SE", 1, 5, "not begun"], ["a", "IPNN", "SE", 1, 5, "not begun"],
            ["hflights", "DNN", "SE", 1, 5, "not begun"]]
    columns = ["dataset", "model", "design", "scale", "seeds", "why"]
    pd.DataFrame(left, columns=columns).to_csv(tmp_path / "not-run.csv", index=False)
    assert not_run(tmp_path).to_numpy().tolist() == [
        ["a", "DNN", "SE 1x, ME 4x", "9 more", "too dear"], ["a", "FM, IPNN", "SE 1x", "5", "not begun"],
        ["flights", "DNN", "SE 1x", "5", "not begun"]]
