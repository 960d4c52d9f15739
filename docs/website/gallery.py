"""Figures on the site: the picture at once, and in its place a chart that answers to the pointer, which loads
when it is near the window and the browser has nothing else to do."""
import html
import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "figures"


def words(spec: dict) -> tuple[str, str]:
    "The finding that a chart's title states, and how to read the chart."
    head = spec.get("title", "")
    if not isinstance(head, dict): head = {"text": head}
    def joined(part: str | list[str]) -> str: return part if isinstance(part, str) else " ".join(part)
    return joined(head.get("text", "")) or "A chart", joined(head.get("subtitle", ""))


def size(svg: str) -> tuple[int, int]:
    "Width and height of an SVG in px."
    head = re.search(r"<svg[^>]*>", svg)[0]
    return tuple(round(float(re.search(rf'\b{side}=["\']([\d.]+)', head)[1])) for side in ("width", "height"))


class Gallery:
    """Writes charts below _static/charts, each once.

    They are scripts, because pages opened from a file may load scripts, but fetch nothing.
    """
    def __init__(self, static: Path):
        self.static, self.folder = static, static / "charts"
        self.folder.mkdir(parents=True, exist_ok=True)
        # title of every figure -> its name, to know a figure again in a notebook that keeps only its picture
        self.titles = {words(json.loads(f.read_text(encoding="utf-8")))[0]: f.stem
                       for f in sorted(FIGURES.glob("*.json"))}

    def add(self, name: str, spec: dict, svg: str, depth: int = 0) -> str:
        "The HTML of a chart; `depth` is how many folders the page lies below the site's root."
        spec = {k: v for k, v in spec.items() if k != "$schema"}
        text = json.dumps(spec, ensure_ascii=False, separators=(",", ":"))
        (self.folder / f"{name}.js").write_text(f"(window.charts??={{}})[{json.dumps(name)}]={text}\n",
                                                encoding="utf-8")
        (self.folder / f"{name}.svg").write_text(svg, encoding="utf-8")
        (finding, reading), (width, height), root = words(spec), size(svg), "../" * depth
        label, source = html.escape(f"{finding}. {reading}"), f"{root}_static/charts/{name}"
        return (f'<figure class="chart" id="{name}"><div class="canvas" data-chart="{name}" '
                f'data-src="{source}.js" role="img" tabindex="0" '
                f'aria-label="{label}" style="max-width:{width}px">'
                f'<img src="{source}.svg" width="{width}" height="{height}" loading="lazy" '
                f'alt="{label}"></div></figure>')

    def stored(self, name: str, depth: int = 0) -> str | None:
        "The HTML of a figure of figures/; None when there is no such chart."
        spec, svg = (FIGURES / f"{name}.{ending}" for ending in ("json", "svg"))
        if not spec.is_file(): return None
        return self.add(name, json.loads(spec.read_text(encoding="utf-8")), svg.read_text(encoding="utf-8"),
                        depth)

    def name_of(self, svg: str) -> str | None:
        "The name of the figure that an SVG is a picture of."
        text = re.sub(r"\W+", "", html.unescape(re.sub(r"<[^>]+>", "", svg)))
        return next((name for title, name in self.titles.items() if re.sub(r"\W+", "", title) in text), None)
