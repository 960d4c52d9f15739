"Tables on a page: verdicts first and marked, claims that wrap, rows that become blocks on a phone."
import html
import re

VERDICTS = ("holds", "does not hold", "cannot tell", "not run here", "not run", "equivalent", "differs")
# a cell with so many characters may wrap; one with many more takes the room of a claim
WRAPS, LONG = 22, 36
ROW = re.compile(r"<tr[^>]*>(.*?)</tr>", flags=re.S)
CELL = re.compile(r"<t([hd])\b([^>]*)>(.*?)</t\1>", flags=re.S)
Cell = tuple[str, str, str] # th or td, its attributes, what is in it


def plain(markup: str) -> str:
    "The text of a cell."
    return html.unescape(re.sub(r"<(/?[a-zA-Z][^>]*)>", "", markup)).strip()

def verdict(markup: str) -> str | None:
    "The verdict that a cell holds, if that is all that it holds."
    return text if (text := plain(markup)) in VERDICTS else None

def marked(markup: str) -> str:
    "A cell's content, a verdict marked for the style sheet."
    said = verdict(markup)
    if not said or "class=" in markup: return markup
    return f'<span class="verdict {said.replace(" ", "-")}">{said}</span>'


def even(rows: list[list[Cell]]) -> list[list[Cell]]:
    """Rows of as many cells as there are columns: what spans rows stands in each of them, and the names of
    the index, which pandas puts into a second row of the head, in the first."""
    filled, waiting = [], {} # column -> (cell, in how many rows more)
    for row in rows:
        cells, rest = [], list(row)
        while rest or len(cells) in waiting:
            place = len(cells)
            if place in waiting:
                cell, more = waiting.pop(place)
                if more > 1: waiting[place] = cell, more - 1
            else:
                tag, given, content = rest.pop(0)
                span = re.search(r'rowspan="?(\d+)"?', given)
                cell = tag, given.replace(span[0], "") if span else given, content
                if span and int(span[1]) > 1: waiting[place] = cell, int(span[1]) - 1
            cells.append(cell)
        filled.append(cells)
    if len(filled) > 1 and len(filled[0]) == len(filled[1]):
        first, second = ([plain(content) for _, _, content in row] for row in filled[:2])
        if all(tag == "h" for tag, _, _ in filled[1]) and not any(map(all, zip(first, second, strict=True))):
            joined = [upper if name else lower
                      for name, upper, lower in zip(first, filled[0], filled[1], strict=True)]
            filled[:2] = [joined]
    return filled

def verdict_first(rows: list[list[Cell]], place: int) -> list[list[Cell]]:
    "A column of verdicts before all others but those of the index."
    first = min(place, next((i for i, (tag, _, _) in enumerate(rows[-1]) if tag == "d"), place))
    return [[*row[:first], row[place], *row[first:place], *row[place + 1:]] for row in rows]


def attributes(tag: str, given: str, content: str, label: str, claims: bool) -> str:
    "What a cell says of itself: whether it may wrap, and, in a table of verdicts, what its column is."
    spans = "".join(re.findall(r'\s(?:col|row)span="?\d+"?', given))
    letters = len(plain(content))
    kind = ' class="long"' if letters >= LONG else ' class="wraps"' if claims and letters >= WRAPS else ""
    if tag == "h": kind = ""
    if not claims: return spans + kind
    if tag == "h": return f'{spans} role="{"rowheader" if label else "columnheader"}"'
    return f'{spans}{kind} role="cell" data-label="{html.escape(label)}"'


def relaid(markup: str) -> str:
    """A table as the site shows it: what pandas adds to style it is left to the site's style sheet.

    In a table with verdicts each cell names its column, for on a phone a row becomes a block, and the roles
    say that it is a table still.
    """
    markup = re.sub(r"<style.*?</style>\s*", "", markup, flags=re.S)
    rows = [[cell.groups() for cell in CELL.finditer(row)] for row in ROW.findall(markup)]
    if not rows or not rows[0]: return markup
    filled = even(rows) if any(verdict(content) for row in rows[1:] for _, _, content in row) else []
    claims = bool(filled) and {len(row) for row in filled} == {len(filled[0])}
    if claims: rows = filled
    verdicts = {place for row in rows[1:] for place, (_, _, content) in enumerate(row) if verdict(content)}
    heads = [plain(content) for _, _, content in rows[0]]
    if claims and ("verdict" in heads or len(verdicts) == 1):
        rows = verdict_first(rows, heads.index("verdict") if "verdict" in heads else min(verdicts))
        heads = [plain(content) for _, _, content in rows[0]]

    def cell(at: int, place: int) -> str:
        tag, given, content = rows[at][place]
        # a single column of verdicts may have another name, such as the claim itself
        label = "" if not at or not claims else heads[place] or "number"
        if not plain(content) and "<" not in content.replace("&nbsp;", ""): tag, content = "d", ""
        written = attributes(tag, given, content, label, claims)
        return f"<t{tag}{written}>{marked(content) if at else content}</t{tag}>"
    numbers = iter(range(len(rows)))
    # where the head had two rows, one is left
    surplus = len(ROW.findall(markup)) - len(rows)
    def row(_: re.Match) -> str:
        nonlocal surplus
        if surplus:
            surplus -= 1
            return ""
        at = next(numbers)
        role = ' role="row"' if claims else ""
        return f"<tr{role}>{''.join(cell(at, place) for place in range(len(rows[at])))}</tr>"
    markup = ROW.sub(row, markup)
    markup = re.sub(r"<(table|thead|tbody|caption)\b[^>]*>", r"<\1>", markup)
    if not claims: return markup
    markup = re.sub(r"<(thead|tbody)>", r'<\1 role="rowgroup">', markup)
    kind = "claims matrix" if len(verdicts) > 1 else "claims"
    return markup.replace("<table>", f'<table class="{kind}" role="table">')
