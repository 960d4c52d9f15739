"""The stored figures as their readers see them: letters that are inside the picture and on no others, whether
Chromium or librsvg draws them and whether sans-serif is the widest of the usual fonts or a narrow one; and
what they tell those who cannot see them."""
import base64
import json
import math
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest
from browser import chromium

from collapse_nb.show.charts import DATA, words

ROOT = Path(__file__).resolve().parents[1]
FIGURES = sorted((ROOT / "figures").glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"
# family -> its package in Debian
FONTS = {"DejaVu Sans": "fonts-dejavu", "Liberation Sans": "fonts-liberation"}
MARGIN = 40 # px around a picture, in which nothing may be drawn
# the corners of every piece of text (lines of a title are pieces of their own), in px of the picture; its
# height is without the room above and below the letters
PIECES = """() => [...document.querySelectorAll('svg')].map(svg => {
  const home = svg.getScreenCTM().inverse();
  const pieces = [...svg.querySelectorAll('text')].filter(e => e.textContent.trim() && e.checkVisibility() &&
      +getComputedStyle(e).opacity > 0).flatMap(e => {
    const parts = e.querySelector('tspan') ? [...e.querySelectorAll('tspan')] : [e];
    return parts.filter(part => part.textContent.trim()).map(part => {
      const before = part === e ? [] : [...e.childNodes].slice(0, [...e.childNodes].indexOf(part));
      const from = before.reduce((n, c) => n + c.textContent.length, 0);
      const first = e.getExtentOfChar(from), last = e.getExtentOfChar(from + part.textContent.length - 1);
      const [left, right] = [Math.min(first.x, last.x), Math.max(first.x + first.width, last.x + last.width)];
      const [top, bottom] = [first.y + .2 * first.height, first.y + .95 * first.height];
      const place = home.multiply(e.getScreenCTM());
      const corners = [[left, top], [right, top], [right, bottom], [left, bottom]].map(([x, y]) => {
        const at = new DOMPoint(x, y).matrixTransform(place); return [at.x, at.y]; });
      return { text: part.textContent, corners };
    });
  });
  return { width: svg.width.baseVal.value, height: svg.height.baseVal.value, pieces };
})"""
# how many pixels of the margin of a picture are not empty
SMEARED = """async sources => Promise.all(sources.map(async ([source, margin]) => {
  const image = new Image(); image.src = source; await image.decode();
  const { naturalWidth: w, naturalHeight: h } = image, canvas = new OffscreenCanvas(w, h);
  const context = canvas.getContext('2d'); context.drawImage(image, 0, 0);
  context.clearRect(margin, margin, w - 2 * margin, h - 2 * margin);
  const { data } = context.getImageData(0, 0, w, h);
  let smeared = 0; for (let i = 3; i < data.length; i += 4) smeared += data[i] > 0;
  return [w, h, smeared]; }))"""


@pytest.fixture(scope="module", params=FONTS)
def only(request, tmp_path_factory):
    "The environment of a program that knows one font, and takes it for sans-serif."
    if not shutil.which("fc-list"): pytest.skip("there is no fc-list: apt-get install fontconfig")
    listed = subprocess.run(["fc-list", request.param, "file"], capture_output=True, text=True, check=True)
    files = [Path(line.split(":")[0]) for line in listed.stdout.splitlines()]
    if not files: pytest.skip(f"{request.param} is not installed: apt-get install {FONTS[request.param]}")
    folder = tmp_path_factory.mktemp("font")
    for file in files: (folder / file.name).symlink_to(file)
    (folder / "fonts.conf").write_text(
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">'
        f"<fontconfig><dir>{folder}</dir><cachedir>{folder}/cache</cachedir><alias binding=\"same\">"
        f"<family>sans-serif</family><prefer><family>{request.param}</family></prefer></alias></fontconfig>",
        encoding="utf-8")
    return os.environ | {"FONTCONFIG_FILE": str(folder / "fonts.conf")}

@pytest.fixture(scope="module")
def page(only):
    with chromium(env=only) as browser: yield browser.new_page()


def box(corners: list) -> tuple:
    "The upright rectangle around a turned one: left, top, right, bottom."
    across, down = zip(*corners, strict=True)
    return min(across), min(down), max(across), max(down)

def axes(corners: list) -> list:
    "Directions across two neighbouring sides of a rectangle."
    (x, y), (u, v), (w, z) = corners[:3]
    return [(u - x, v - y), (w - u, z - v)]

def overlap(a: list, b: list, slack: float = 1.) -> bool:
    "Whether two rectangles, which may be turned, have more than `slack` px in common."
    (left, top, right, bottom), (west, north, east, south) = box(a), box(b)
    if min(right, east) - max(left, west) <= slack: return False
    if min(bottom, south) - max(top, north) <= slack: return False
    for dx, dy in axes(a) + axes(b):
        length = math.hypot(dx, dy) or 1.
        spans = [[(x * dx + y * dy) / length for x, y in corners] for corners in (a, b)]
        if min(map(max, spans)) - max(map(min, spans)) <= slack: return False
    return True

def faults(picture: dict) -> list[str]:
    "What is wrong with the text of a picture."
    pieces = picture["pieces"]
    outside = [f"outside: {piece['text']}" for piece in pieces for x, y in piece["corners"]
               if not (0 <= x <= picture["width"] and 0 <= y <= picture["height"])]
    return sorted({*outside, *(f"{a['text']} over {b['text']}" for place, a in enumerate(pieces)
                               for b in pieces[:place] if overlap(a["corners"], b["corners"]))})

def put(page, svgs: list[str]) -> list[dict]:
    "Where the text of some pictures lies."
    page.set_content("".join(f"<div>{svg}</div>" for svg in svgs))
    page.evaluate("document.fonts.ready")
    return page.evaluate(PIECES)


@pytest.mark.browser
def test_no_text_is_cut_or_covered_in_chromium(page):
    pictures = put(page, [file.read_text(encoding="utf-8") for file in FIGURES])
    assert len(pictures) == len(FIGURES) > 0 and all(picture["pieces"] for picture in pictures)
    found = {file.stem: faults(picture) for file, picture in zip(FIGURES, pictures, strict=True)}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}

@pytest.mark.browser
def test_text_that_is_cut_or_covered_is_seen(page):
    svg = ('<svg xmlns="http://www.w3.org/2000/svg" width="200" height="60" font-family="sans-serif" '
           'font-size="12"><text x="%d" y="20">letters</text>'
           '<text transform="translate(%d,45) rotate(-45)">turned</text></svg>')
    good, cut, over = put(page, [svg % at for at in ((10, 120), (180, 100), (10, 20))])
    assert faults(good) == []
    assert "outside: letters" in faults(cut) and "turned over letters" in faults(over)

@pytest.mark.browser
def test_fonts_are_those_asked_for(page, only):
    "Letters are wider in DejaVu Sans, so the two tests of a figure are not one."
    svg = ('<svg xmlns="http://www.w3.org/2000/svg" width="600" height="60" font-family="%s" font-size="16">'
           '<text x="0" y="20">millimetres</text></svg>')
    pictures = put(page, [svg % family for family in ("sans-serif", "DejaVu Sans, Arial")])
    width, same = (picture["pieces"][0]["corners"][1][0] for picture in pictures)
    wide = any(Path(only["FONTCONFIG_FILE"]).parent.glob("DejaVu*"))
    assert width == same and (width > 83) == wide # 89 px in DejaVu Sans, 77 in Liberation Sans

def drawn(file: Path, env: dict, folder: Path) -> Path:
    "What librsvg makes of a figure, with an empty margin around it."
    root = ElementTree.fromstring(file.read_text(encoding="utf-8"))
    width, height = (float(root.get(side)) for side in ("width", "height"))
    root.set("viewBox", f"{-MARGIN} {-MARGIN} {width + 2 * MARGIN} {height + 2 * MARGIN}")
    root.set("width", str(width + 2 * MARGIN))
    root.set("height", str(height + 2 * MARGIN))
    wide, png = folder / file.name, folder / f"{file.stem}.png"
    ElementTree.ElementTree(root).write(wide)
    subprocess.run(["rsvg-convert", wide, "-o", png], check=True, env=env)
    return png

@pytest.mark.browser
def test_nothing_is_drawn_outside_the_picture_by_librsvg(page, only, tmp_path):
    if not shutil.which("rsvg-convert"): pytest.skip("there is no rsvg-convert: apt-get install librsvg2-bin")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = list(pool.map(lambda file: drawn(file, only, tmp_path), FIGURES))
    blank = tmp_path / "blank.html"
    blank.write_text("<!doctype html>", encoding="utf-8")
    page.goto(blank.as_uri())
    coded = [base64.b64encode(png.read_bytes()).decode() for png in made]
    sizes = page.evaluate(SMEARED, [[f"data:image/png;base64,{text}", MARGIN] for text in coded])
    for file, (width, height, smeared) in zip(FIGURES, sizes, strict=True):
        root = ElementTree.fromstring(file.read_text(encoding="utf-8"))
        expected = [round(float(root.get(side)) + 2 * MARGIN) for side in ("width", "height")]
        assert max(abs(width - expected[0]), abs(height - expected[1])) <= 1, file.stem
        assert smeared == 0, f"{file.stem}: {smeared} pixels outside the picture"


@pytest.mark.parametrize("file", FIGURES, ids=lambda file: file.stem)
def test_a_figure_tells_its_finding_to_who_cannot_see_it(file):
    spec = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    root = ElementTree.parse(file).getroot()
    finding, reading = words(spec)
    assert finding and spec["description"].startswith(finding)
    assert root.get("role") == "img" and root.get("aria-label") == f"{finding}. {reading}"
    assert (root.find(f"{SVG}title").text, root.find(f"{SVG}desc").text) == (finding, reading)

@pytest.mark.parametrize("file", FIGURES, ids=lambda file: file.stem)
def test_a_figure_names_its_data(file):
    finding, _ = words(json.loads(file.with_suffix(".json").read_text(encoding="utf-8")))
    of_nothing = "toy" if file.stem.startswith("fig4") else ""
    dataset = next((name for name in DATA if file.stem.endswith(f"-{name}")), of_nothing)
    if dataset: assert finding.startswith(f"{DATA[dataset]}: ")
    elif file.stem == "encoding-speed": assert finding.startswith("Lines in Criteo's form: ")
    elif file.stem == "grid-plan": assert finding.startswith("Criteo and Avazu: ")
    else: assert file.stem == "fig7-architecture" # a drawing

def test_no_two_figures_say_the_same():
    "The site knows a figure again by its title."
    titles = [words(json.loads(file.with_suffix(".json").read_text(encoding="utf-8")))[0] for file in FIGURES]
    assert sorted(titles) == sorted(set(titles))

def test_a_figure_is_as_wide_as_a_page():
    "The column of a page has 733 px."
    texts = {file.stem: file.read_text(encoding="utf-8") for file in FIGURES}
    wide = {name: float(re.search(r'width="([\d.]+)"', text)[1]) for name, text in texts.items()}
    assert {name: width for name, width in wide.items() if width > 733} == {}
