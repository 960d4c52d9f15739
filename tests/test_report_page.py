"The page that `collapse diagnose --html` writes, as readers meet it: offline, by keyboard, without colour."
import numpy as np
import pytest
from browser import Witness

from collapse_nb.diagnose import diagnose

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page_of(tmp_path_factory):
    "The page of a made-up model: low rank, one long direction, healthy, small, untrained and empty tables."
    rng = np.random.default_rng(0)
    lengths = rng.exponential(size=(600, 1))
    tables = {"city": rng.normal(size=(600, 2)) @ rng.normal(size=(2, 16)) + .01 * rng.normal(size=(600, 16)),
              "ad": lengths * (rng.normal(size=(600, 16)) + 9 * np.eye(16)[0]),
              "user": lengths * rng.normal(size=(600, 16)), "gender": rng.normal(size=(2, 16)),
              "start": rng.uniform(-.1, .1, size=(600, 16)), "none": np.zeros((0, 16)),
              "a <b>name</b> that goes on and on and on and on and on": lengths * rng.normal(size=(600, 16))}
    path = tmp_path_factory.mktemp("page") / "report.html"
    diagnose({name: table.astype(np.float32) for name, table in tables.items()}).to_html(path)
    return path


@pytest.fixture
def opened(browser, page_of):
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    witness, page = Witness(context, origin="file:"), context.new_page()
    page.goto(page_of.as_uri())
    yield page
    context.close()
    assert (witness.foreign, witness.failed, witness.errors) == ([], [], [])


def test_every_table_has_a_line_and_a_place(opened):
    rows = opened.locator("table").first.locator("tbody tr")
    assert rows.count() == opened.locator("details").count() == 7
    assert opened.locator("b").count() == 0 # names are text, not markup
    for link in opened.locator("tbody a").all():
        assert opened.locator(link.get_attribute("href")).count() == 1


def test_a_verdict_is_told_by_a_mark_and_a_word(opened):
    said = opened.locator("table").first.locator("tbody tr td:first-child").all_inner_texts()
    marks = {text.split(" ", 1)[1]: text[0] for text in said}
    assert len(set(marks.values())) == len(marks) >= 4


def test_details_unfold_by_keyboard(opened):
    shut = opened.locator("details:not([open])").last
    shut.locator("summary").focus()
    opened.keyboard.press("Enter")
    assert opened.locator("details").last.get_attribute("open") is not None
    assert opened.locator("details").last.locator("dl").is_visible()


def test_nothing_is_wider_than_a_phone(browser, page_of):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(page_of.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_axe_finds_nothing_serious(opened):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    opened.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    found = axe.Axe().run(opened).response["violations"]
    grave = [v for v in found if v["impact"] in ("serious", "critical")]
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in grave] == []
