"What heads a chapter of the paper: a question, an answer out of the stored findings, and one chart."
import ast
import json
import re
from pathlib import Path

import pytest
import readme

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = [f for f in sorted((ROOT / "nbs").glob("[0-9]*.ipynb"))
            if f.name[:2] not in ("08", "09", "10", "11", "13", "14")]


def text(cell: dict) -> str: return "".join(cell["source"])

def imported(cells: list[dict]) -> dict:
    "What the imports of a notebook bring."
    names: dict = {}
    for cell in cells:
        source = text(cell)
        if cell["cell_type"] != "code" or re.search(r"^[%!]", source, flags=re.M): continue
        wanted = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(wanted, []), "<imports>", "exec"), names)
    return names

@pytest.fixture(params=CHAPTERS, ids=lambda file: file.stem)
def cells(request): return json.loads(request.param.read_text(encoding="utf-8"))["cells"]

def test_a_chapter_opens_with_question_answer_and_chart(cells):
    "The answer that is kept in the notebook is the one that today's findings give."
    question = next(c for c in cells[1:8] if "Question.**" in text(c))
    answer = next(c for c in cells[1:8] if text(c).startswith("#| echo: false"))
    assert text(cells[0]).startswith("# ") and "\n\n> " in text(cells[0])
    kept = "\n\n".join("".join(out.get("data", {}).get("text/markdown", "")) for out in answer["outputs"])
    assert "**Question.**" in text(question) and "**Answer" in kept
    names = imported(cells) | {"say": None} # which `printed` puts another in place of
    assert readme.printed("from collapse_nb.show.notices import say\n" + text(answer), names) == kept
    place = cells.index(answer)
    assert any("](../figures/" in text(c) for c in cells[place:place + 3])

def test_a_chapter_ends_with_exercises_that_a_cell_checks(cells):
    sources = [text(c) for c in cells]
    place = next(i for i, source in enumerate(sources) if source.startswith("## Exercises"))
    asked = [s for s in sources[place:] if re.search(r"^answer_\d = None", s, flags=re.M)]
    assert 2 <= len(asked) <= 3
    assert sum(len(re.findall(r"check\(answer_\d", s)) for s in sources[place:]
               if not s.startswith("#| hide")) >= len(asked)
    assert any(s.startswith("#| hide") and "check(" in s for s in sources[place:])

def test_no_tag_of_a_stored_table_is_glued_to_its_attribute():
    "As where a space was lost: `<throwspan=` for `<th rowspan=`."
    glued = re.compile(r"<[a-z][a-z0-9]*=")
    assert glued.search('<throwspan="2">') and not glued.search('<th rowspan="2">')
    seen, found = 0, []
    for file in sorted((ROOT / "nbs").rglob("*.ipynb")):
        for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
            for out in cell.get("outputs", []):
                html = "".join(out.get("data", {}).get("text/html", ""))
                seen += bool(html)
                found += [f"{file.name}: {tag}" for tag in glued.findall(html)]
    assert seen and not found
