"""The house's import graph, read from the code, and its drawing.

    .venv/bin/python docs/import_graph.py     # writes docs/website/pages/import-graph.svg
"""
import ast
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from html import escape
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "collapse_nb"
DRAWING = Path(__file__).parent / "website" / "pages" / "import-graph.svg"


def modules(package: Path) -> dict[str, Path]:
    "Dotted name below the package -> file; `nn` stands for nn/__init__.py and `` for the package's own."
    parts = {f: f.relative_to(package).with_suffix("").parts for f in package.rglob("*.py")
             if f.name != "_modidx.py"}
    return {".".join(p[:-1] if p[-1] == "__init__" else p): f for f, p in parts.items()}


def named(node: ast.AST, home: list[str]) -> Iterator[str]:
    "Full dotted names that an import statement, or a call of import_module, may bring in."
    match node:
        case ast.Import(names=names): yield from (n.name for n in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            start = ".".join([*home[:len(home) - level + 1],
                              *([module] if module else [])]) if level else module
            yield from (f"{start}.{n.name}" for n in names)
        case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called),
                      args=[ast.Constant(value=str(name)), *_]):
            if called in ("import_module", "__import__"): yield name


def imports(name: str, file: Path, by_name: Mapping[str, Path], top: str) -> set[str]:
    """Modules of ours that a module imports; of `from a.b import c`, a.b.c when that is a module and a.b
    when it is not."""
    home = [top, *name.split(".")] if name else [top]
    if file.name != "__init__.py": home = home[:-1]
    targets = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        for full in named(node, home):
            if full.split(".")[0] != top: continue
            below = full.removeprefix(top).removeprefix(".")
            targets.add(below if below in by_name else below.rpartition(".")[0])
    return targets - {name}


def module_graph(package: Path = PACKAGE) -> dict[str, set[str]]:
    "Module -> the modules of ours that it imports."
    by_name = modules(package)
    return {name: imports(name, file, by_name, package.name) for name, file in by_name.items()}


def room(module: str) -> str:
    "The part of the house that a module is in: a folder, or the module itself where it is in none."
    return module.split(".")[0]


def room_graph(package: Path = PACKAGE) -> dict[str, set[str]]:
    "Room -> the rooms that its modules import from."
    graph: dict[str, set[str]] = {}
    for name, targets in module_graph(package).items():
        if not name: continue
        graph.setdefault(room(name), set()).update(room(t) for t in targets if t)
    return {name: targets - {name} for name, targets in graph.items()}


def reduced(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    "The graph without edges that a longer way says already."
    below: dict[str, set[str]] = {}
    for name in TopologicalSorter(graph).static_order():
        below[name] = set().union(*({t} | below[t] for t in graph.get(name, ())))
    return {name: {t for t in targets if not any(t in below[other] for other in targets)}
            for name, targets in graph.items()}


def layers(graph: Mapping[str, set[str]]) -> list[list[str]]:
    "Rooms from the bottom up, each above all that it imports; in a layer, each near the middle of those."
    rank: dict[str, int] = {}
    for name in TopologicalSorter(graph).static_order():
        rank[name] = 1 + max((rank[t] for t in graph.get(name, ())), default=-1)
    rows = [sorted(n for n in rank if rank[n] == r) for r in range(max(rank.values()) + 1)]
    lines, at = reduced(graph), {}
    for row in rows:
        middle = {name: sum(at[t] for t in lines[name]) / max(len(lines[name]), 1) for name in row}
        row.sort(key=middle.get)
        at |= {name: i - (len(row) - 1) / 2 for i, name in enumerate(row)}
    return rows


# pixels: a box, the room between two, and from one layer to the next
WIDTH, HEIGHT, GAP, STEP = 132, 30, 16, 74


def drawing(graph: Mapping[str, set[str]]) -> str:
    "The graph as SVG: what is above imports from what is below."
    rows = layers(graph)
    across = max(len(row) for row in rows) * (WIDTH + GAP) + GAP
    place = {name: (across / 2 + (i - (len(row) - 1) / 2) * (WIDTH + GAP),
                    20 + HEIGHT / 2 + (len(rows) - 1 - r) * STEP)
             for r, row in enumerate(rows) for i, name in enumerate(row)}
    lines, boxes = [], []
    for name, targets in sorted(reduced(graph).items()):
        for target in sorted(targets):
            (x1, y1), (x2, y2) = place[name], place[target]
            y1, y2 = y1 + HEIGHT / 2, y2 - HEIGHT / 2
            bend = min((y2 - y1) / 2, STEP / 2)
            lines.append(f'<path d="M{x1:g} {y1:g}C{x1:g} {y1 + bend:g} '
                         f'{x2:g} {y2 - bend:g} {x2:g} {y2:g}"/>')
    for name, (x, y) in sorted(place.items()):
        boxes.append(f'<rect x="{x - WIDTH / 2:g}" y="{y - HEIGHT / 2:g}" width="{WIDTH}" height="{HEIGHT}" '
                     'rx="5"/>'
                     f'<text x="{x:g}" y="{y + 4:g}">{escape(name)}</text>')
    style = ("path{fill:none;stroke:#8a97a6;stroke-width:1.2}rect{fill:#eef3f8;stroke:#46657f}"
             "text{font:12px 'DejaVu Sans Mono',monospace;text-anchor:middle;fill:#1b2a38}")
    high = 40 + HEIGHT + (len(rows) - 1) * STEP
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across:g} {high:g}" role="img">'
            "<title>The rooms of collapse_nb: each imports from those below that it has a line "
            f"to</title><style>{style}</style>"
            f'<rect width="{across:g}" height="{high:g}" style="fill:#fff;stroke:none"/>\n'
            + "\n".join(lines + boxes) + "\n</svg>\n")


if __name__ == "__main__": DRAWING.write_text(drawing(room_graph()), encoding="utf-8")
