"Tables on a page: verdicts first and marked, claims that wrap, rows that become blocks on a phone."
import html
import re

VERDICTS = ("holds", "does not hold", "cannot tell", "not run here", "not run", "equivalent", "differs")
# a cell with so many characters may wrap
LONG = 36
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


def verdict_first(rows: list[list[Cell]]) -> list[list[Cell]]:
    "The column `verdict` before all others but the numbers of the rows; other tables stay as they are."
    names = [plain(content) for _, _, content in rows[0]]
    spans = any("span=" in attributes for row in rows for _, attributes, _ in row)
    if "verdict" not in names or spans or {len(row) for row in rows} != {len(names)}: return rows
    at, first = names.index("verdict"), 0
    while first < at and not names[first]: first += 1
    return [[*row[:first], row[at], *row[first:at], *row[at + 1:]] for row in rows]


def attributes(tag: str, given: str, content: str, label: str, claims: bool) -> str:
    "What a cell says of itself: whether it may wrap, and, in a table of verdicts, what its column is."
    spans = "".join(re.findall(r'\s(?:col|row)span="?\d+"?', given))
    kind = ' class="long"' if tag == "d" and len(plain(content)) >= LONG else ""
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
    rows = verdict_first(rows)
    heads = [plain(content) for _, _, content in rows[0]]
    verdicts = {place for row in rows[1:] for place, (_, _, content) in enumerate(row) if verdict(content)}
    claims = bool(verdicts) and all(len(row) == len(heads) for row in rows)

    def cell(at: int, place: int) -> str:
        tag, given, content = rows[at][place]
        label = "" if not at or not claims else heads[place] or "number"
        if not plain(content) and "<" not in content.replace("&nbsp;", ""): tag, content = "d", ""
        written = attributes(tag, given, content, label, claims)
        return f"<t{tag}{written}>{marked(content)}</t{tag}>"
    numbers = iter(range(len(rows)))
    def row(_: re.Match) -> str:
        at = next(numbers)
        role = ' role="row"' if claims else ""
        return f"<tr{role}>{''.join(cell(at, place) for place in range(len(rows[at])))}</tr>"
    markup = ROW.sub(row, markup)
    markup = re.sub(r"<(table|thead|tbody|caption)\b[^>]*>", r"<\1>", markup)
    if not claims: return markup
    markup = re.sub(r"<(thead|tbody)>", r'<\1 role="rowgroup">', markup)
    kind = "claims matrix" if len(verdicts) > 1 else "claims"
    return markup.replace("<table>", f'<table class="{kind}" role="table">')
