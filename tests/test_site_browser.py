"""The documentation site in a headless Chromium: charts, explorer, search, math, themes, a phone's width,
the keyboard."""
import functools
import gzip
import http.server
import threading
from urllib.parse import parse_qs

import pytest
from browser import Witness

pytestmark = pytest.mark.browser
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
LAPTOP = {"width": 1366, "height": 768}
# what overflows the window, boxes that scroll inside aside; a table of claims is none of them
TOO_WIDE = """() => [...document.querySelectorAll('article *')]
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1 &&
    !e.closest('.table:not(:has(.claims)), .table-wrapper, .canvas, pre, .highlight, mjx-container, .sig'))
  .slice(0, 3).map(e => e.outerHTML.slice(0, 150))
  .concat(document.documentElement.scrollWidth > innerWidth ? ['the page itself'] : [])"""
# WCAG's contrast of every piece of text against the first background below it; below AA it is returned
PALE = """() => {
  const rgb = c => (c.match(/[\\d.]+/g) ?? []).map(Number);
  const channel = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = c => .2126 * channel(c[0]) + .7152 * channel(c[1]) + .0722 * channel(c[2]);
  const ground = e => { for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] === 1) return c; }
    return [255, 255, 255]; };
  return [...document.querySelectorAll('article *, .sidebar-tree a')].filter(e =>
    !e.closest('svg, mjx-container, .headerlink, button') && e.checkVisibility() &&
    [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())).map(e => {
      const style = getComputedStyle(e), a = light(rgb(style.color)), b = light(ground(e));
      const size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
      return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), large ? 3 : 4.5,
              e.className + ' ' + e.textContent.slice(0, 40)];
    }).filter(([ratio, least]) => ratio < least)
      .map(([ratio, , text]) => `${ratio.toFixed(2)}: ${text}`); }"""


# verdicts that cannot be seen where they stand, before anybody scrolls sideways: outside the window, or
# outside of a box that cuts off what it holds
UNSEEN = """() => [...document.querySelectorAll('.verdict')].filter(e => {
    const seen = e.getBoundingClientRect();
    if (!e.checkVisibility() || !seen.width) return false;
    let left = 0, right = innerWidth;
    for (let box = e.parentElement; box; box = box.parentElement)
      if (getComputedStyle(box).overflowX !== 'visible') {
        const edge = box.getBoundingClientRect();
        left = Math.max(left, edge.left); right = Math.min(right, edge.right); }
    return seen.left < left - 1 || seen.right > right + 1;
  }).slice(0, 3).map(e => e.closest('tr').innerText.slice(0, 80))"""
# code that is wider than its box, folds opened
SCROLLS = """() => { document.querySelectorAll('details').forEach(fold => fold.open = true);
  return [...document.querySelectorAll('article pre')].filter(e => e.scrollWidth > e.clientWidth + 1)
    .slice(0, 3).map(e => e.textContent.slice(0, 60)); }"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): pass


@pytest.fixture(scope="module")
def host(site):
    "The site, served."
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()

@pytest.fixture
def opened(browser, host):
    "Opens a page of the site; at the end no page may have complained or asked another host."
    contexts = []
    def go(path, width=DESK, scheme="light", base=host):
        context = browser.new_context(viewport=width, color_scheme=scheme)
        contexts.append((context, Witness(context, host if base == host else "")))
        page = context.new_page()
        page.goto(f"{base}/{path}")
        return page
    yield go
    complaints = [w.foreign + w.failed + w.errors for _, w in contexts]
    for context, _ in contexts: context.close()
    assert complaints == [[]] * len(complaints)

def drawn(page, chart="[data-drawn]"):
    "Scrolls a chart into view and waits until it is there."
    page.locator(chart.removesuffix("[data-drawn]") or ".canvas").first.scroll_into_view_if_needed()
    page.wait_for_selector(f"{chart} svg .mark-symbol, {chart} svg .mark-line, {chart} svg .mark-rect",
                           state="attached")


def test_every_page_is_well_on_a_phone(site, browser, host):
    "No page complains, asks another host, or is wider than a phone; nor does a chart."
    context = browser.new_context(viewport=PHONE)
    witness, page, wrong = Witness(context, host), context.new_page(), {}
    for file in sorted(site.rglob("*.html")):
        name = file.relative_to(site).as_posix()
        page.goto(f"{host}/{name}")
        page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
        if charts := page.locator(".canvas[data-chart]").count():
            for i in range(charts): page.locator(".canvas[data-chart]").nth(i).scroll_into_view_if_needed()
            page.wait_for_function("[...document.querySelectorAll('.canvas[data-chart]')].every(e => "
                                   "e.querySelector('svg'))")
        if wide := page.evaluate(TOO_WIDE): wrong[name] = wide
    context.close()
    assert wrong == {} and witness.foreign == witness.failed == witness.errors == []

def test_the_front_chart_is_whole_on_a_phone_and_wide_again_when_turned(opened):
    page = opened("index.html", PHONE)
    drawn(page)
    panels = ("[...document.querySelectorAll('.canvas .concat_0_group, .canvas .concat_1_group')].map(e => "
              "e.getBoundingClientRect().%s)")
    left, right = page.evaluate(panels % "left"), page.evaluate(panels % "right")
    # one below the other, nothing to scroll
    assert len(left) == 2 and abs(left[0] - left[1]) < 30 and max(right) <= PHONE["width"]
    assert all(e.bounding_box()["width"] <= PHONE["width"]
               for e in page.locator(".canvas .role-title text").all())
    page.set_viewport_size(DESK)
    page.wait_for_selector(".canvas[data-drawn=light]")
    left, right = page.evaluate(panels % "left"), page.evaluate(panels % "right")
    assert right[0] <= left[1]

def test_something_too_wide_is_seen(opened):
    page = opened("index.html", PHONE)
    page.evaluate("document.querySelector('article').insertAdjacentHTML('beforeend', '<p style=\"width: "
                  "900px\">wide</p>')")
    assert page.evaluate(TOO_WIDE)


def pages(site, *folders):
    files = [f for folder in folders for f in sorted((site / folder).glob("*.html"))]
    return [f.relative_to(site).as_posix() for f in files]

@pytest.mark.parametrize("window", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_verdicts_are_seen_without_scrolling_sideways(site, browser, host, window):
    "On every page of the paper and of results; in folds too."
    page, unseen, verdicts = browser.new_page(viewport=window), {}, 0
    for name in pages(site, "paper", "results", "claims"):
        page.goto(f"{host}/{name}", wait_until="domcontentloaded")
        page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
        verdicts += page.locator(".verdict:visible").count()
        if rows := page.evaluate(UNSEEN): unseen[name] = rows
    page.close()
    assert unseen == {} and verdicts > 500

def test_a_verdict_out_of_sight_is_noticed(opened):
    page = opened("results/hflights.html", LAPTOP)
    assert page.evaluate(UNSEEN) == []
    page.add_style_tag(content=".claims td { min-width: 20em !important; max-width: none !important }")
    page.evaluate("document.querySelectorAll('.claims tr').forEach(row => {"
                  "const cell = row.querySelector('td:has(.verdict)'); if (cell) row.append(cell); })")
    assert page.evaluate(UNSEEN)

def test_code_of_paper_pages_never_scrolls_sideways(site, browser, host):
    page, wide = browser.new_page(viewport=LAPTOP), {}
    for name in pages(site, "paper"):
        page.goto(f"{host}/{name}", wait_until="domcontentloaded")
        if blocks := page.evaluate(SCROLLS): wide[name] = blocks
    page.add_style_tag(content="article pre { white-space: pre !important; font-size: 40px !important }")
    noticed = page.evaluate(SCROLLS)
    page.close()
    assert wide == {} and noticed

def test_a_link_to_a_definition_opens_its_fold(opened):
    page = opened("api/abundance.html")
    place = "source-abundance-fold"
    page.locator(f"a[href$='#{place}']").click()
    page.wait_for_url("**/paper/01_information_abundance.html#*")
    page.wait_for_function("place => document.getElementById(place)?.closest('details')?.open", arg=place)
    assert page.locator("details.code:not([open])").count() > 5
    # and one that is followed on the page itself
    page.evaluate("""place => { document.getElementById(place).closest('details').open = false;
      location.hash = ''; location.hash = place; }""", place)
    page.wait_for_function("place => document.getElementById(place).closest('details').open", arg=place)


def compressed(data): return len(gzip.compress(data, 6))

def test_the_first_view_is_light(site, browser, host):
    """At most 400 KB: as files until the first chart is drawn, as its picture; and, as a server with gzip
    would send them, together with all that makes the charts answer to the pointer."""
    page, asked = browser.new_page(viewport=LAPTOP), []
    page.on("request", lambda r: asked.append(r.url.removeprefix(f"{host}/").split("?")[0]))
    page.goto(f"{host}/index.html")
    page.wait_for_selector(".canvas[data-drawn]")
    picture = next(i for i, name in enumerate(asked) if name.startswith("_static/charts/"))
    assert asked[picture].endswith(".svg")
    heavy = asked.index("_static/vega.js")
    page.close()
    files = {name: (site / (name or "index.html")).read_bytes() for name in asked}
    assert heavy > picture and sum(len(files[name]) for name in dict.fromkeys(asked[:heavy])) <= 400_000
    assert sum(compressed(data) for data in files.values()) <= 400_000

def test_a_chart_is_there_before_it_answers_to_the_pointer(browser, host):
    "And stays, when the script that draws it does not come."
    page = browser.new_page(viewport=LAPTOP)
    page.route("**/vega.js", lambda route: route.abort())
    page.goto(f"{host}/index.html")
    picture = page.locator(".canvas img").first
    page.wait_for_function("e => e.complete && e.naturalWidth > 300", arg=picture.element_handle())
    page.wait_for_timeout(1500)
    assert picture.is_visible() and not page.locator("[data-drawn]").count()
    page.close()


@pytest.mark.parametrize("path", ["index.html", "paper/01_information_abundance.html", "explorer.html",
                                  "results/index.html", "results/hflights.html", "measure.html", "claims"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, site, path, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core: pip install "
                              "axe-playwright-python, which the dev extra brings")
    if path == "claims":
        found = [name for name in pages(site, "claims") if not name.endswith("index.html")]
        if not found: pytest.skip("no page of a claim")
        path = found[0]
    page = opened(path, LAPTOP, scheme)
    page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    if page.locator(".canvas").count(): drawn(page)
    found = axe.Axe().run(page).response["violations"]
    grave = [v for v in found if v["impact"] in ("serious", "critical")]
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in grave] == []

@pytest.mark.parametrize("path", ["index.html", "paper/01_information_abundance.html", "api/abundance.html",
                                  "results/hflights.html",
                                  "explorer.html", "released.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(opened, path, scheme): assert opened(path, scheme=scheme).evaluate(PALE) == []

def test_pale_text_is_seen(opened):
    page = opened("index.html")
    page.evaluate("document.querySelector('article p').style.color = '#aaa'")
    assert page.evaluate(PALE)


def test_a_chart_tells_its_numbers(opened):
    page, chart = opened("index.html"), ".canvas[data-chart=fig7-hflights]"
    page.locator(chart).scroll_into_view_if_needed()
    page.wait_for_selector(f"{chart} svg .mark-symbol.role-mark", state="attached")
    page.locator(f"{chart} .mark-symbol.role-mark path").first.hover()
    page.wait_for_selector("#vg-tooltip-element.visible")
    assert ("auc" in page.locator("#vg-tooltip-element").inner_text()
            and "AUC" in page.locator(chart).get_attribute("aria-label"))

def test_dark_mode_flips_charts_too(opened):
    page = opened("index.html")
    drawn(page)
    back = lambda: page.evaluate("getComputedStyle(document.body).backgroundColor")
    text = lambda: page.locator(".canvas .role-title-text text").first.get_attribute("fill")
    light = back(), text()
    page.keyboard.press("Home")
    while page.evaluate("document.body.dataset.theme") != "dark":
        page.locator(".theme-toggle:visible").first.click()
    page.wait_for_selector(".canvas[data-drawn=dark]")
    assert back() != light[0] and text() != light[1] and text().lower() == "#ececec"

def test_what_charts_say_is_light_on_dark(opened):
    "Titles, axes and legends of every figure of a dataset."
    page = opened("results/hflights.html", scheme="dark")
    charts = page.locator(".canvas[data-chart]")
    for i in range(charts.count()): charts.nth(i).scroll_into_view_if_needed()
    page.wait_for_function("[...document.querySelectorAll('.canvas[data-chart]')].every(e => e.dataset.drawn "
                           "=== 'dark')")
    selector = "[class*=role-axis-], [class*=role-title-], [class*=role-legend-]"
    fills = page.evaluate("s => [...document.querySelectorAll(`.canvas :is(${s}) text`)].map(e => "
                          "getComputedStyle(e).fill)", selector)
    assert len(fills) > 100 and all(min(map(int, fill[4:-1].split(", "))) > 150 for fill in set(fills))

def test_math_is_set(opened):
    page = opened("paper/01_information_abundance.html")
    page.wait_for_selector("mjx-container svg")
    assert page.locator("mjx-container").count() > 10 and "$$" not in page.locator("article").inner_text()

def test_search_finds_a_function(opened):
    page = opened("index.html")
    page.locator("input[name=q]").first.fill("information_abundance")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results a[href*='collapse_nb.abundance.information_abundance']")

def test_the_first_command_names_this_host(opened, host):
    "And the page itself none: without a script it says to save the archive."
    page = opened("index.html")
    assert f"curl -fL {host}/collapse_nb.tar.gz | tar xz" in page.locator("#commands").inner_text()
    assert not page.locator("#from-file").is_visible()

def test_pages_work_from_a_file(opened, site):
    page = opened("index.html", base=site.as_uri())
    drawn(page)
    assert page.locator("#from-file").is_visible()
    commands = page.locator("#commands").inner_text()
    assert "tar xzf collapse_nb.tar.gz" in commands and "curl" not in commands and "http" not in commands
    page.goto(f"{site.as_uri()}/explorer.html")
    drawn(page, "#against[data-drawn]")


def rows(page): return page.locator("#numbers tr").all_inner_texts()

def test_the_explorer_answers_to_the_keyboard_alone(opened):
    page = opened("explorer.html")
    drawn(page, "#against[data-drawn]")
    before = rows(page)
    page.locator("#dataset").focus()
    page.keyboard.press("Tab")
    page.keyboard.type("Test logloss")
    page.wait_for_function("document.getElementById('said').textContent.startsWith('Test logloss')")
    for _ in range(2): page.keyboard.press("Tab")
    page.keyboard.press("Space")                # the first model's box
    told = parse_qs(page.url.partition("#")[2])
    assert "DNN" not in told["models"][0].split(",") and told["metric"] == ["test_logloss_nats"]
    assert not any(r.startswith("DNN") for r in rows(page)) and rows(page) != before
    assert all(page.locator(f"#{name}").evaluate("e => e.labels.length")
               for name in ("dataset", "metric", "paper", "size"))

def test_the_explorer_has_the_papers_numbers_and_says_what_was_not_run(opened):
    page = opened("explorer.html#dataset=criteo&metric=test_auc&models=DCNv2&designs=SE,ME")
    drawn(page, "#against[data-drawn]")
    assert page.locator("#dataset").input_value() == "criteo" and len(rows(page)) == 10
    assert all("not run here" in row and "0.81" in row for row in rows(page)[1:])
    assert "Not run here on criteo: DCNv2" in page.locator("#said").inner_text()

def test_only_models_that_were_run_are_ticked(opened):
    "On every dataset, until somebody chooses; where nothing was run, those that the paper has numbers of."
    page = opened("explorer.html")
    drawn(page, "#against[data-drawn]")
    run = page.evaluate("""() => Object.fromEntries(Object.entries(explorerData).map(([name, data]) =>
      [name, [...new Set((data.cells.length ? data.cells : data.paper).map(cell => cell.model))].sort()]))""")
    boxes = page.locator("#models input:checked")
    ticked = lambda: sorted(boxes.evaluate_all("boxes => boxes.map(box => box.value)"))
    assert len(run) > 3
    ran = page.evaluate("""() => Object.fromEntries(Object.entries(explorerData).map(([name, data]) =>
      [name, new Set(data.cells.map(cell => cell.model)).size]))""")
    for name in run:
        page.locator("#dataset").select_option(name)
        assert ticked() == run[name]
        assert ("(not run)" in page.locator("#models").inner_text()) == (ran[name] < 6)
    page.locator("#dataset").select_option("hflights")
    assert "models=" not in page.url
    page.locator("#models input[value=DNN]").uncheck()
    page.locator("#dataset").select_option("synthetic")
    assert "DNN" not in ticked()

def test_a_view_can_be_sent(opened):
    page = opened("explorer.html#dataset=synthetic&metric=ia&models=DCNv2&designs=SE")
    drawn(page, "#fields[data-drawn]")
    other = opened(page.url.split("/", 3)[3])
    drawn(other, "#fields[data-drawn]")
    assert rows(other) == rows(page) and other.locator("#models input:checked").count() == 1
    page.locator("#fields .mark-symbol path").first.hover()
    page.wait_for_selector("#vg-tooltip-element.visible")
