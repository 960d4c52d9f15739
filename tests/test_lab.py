"""`make lab`, in a real browser: the start page, every notebook of the paper before and after Run All,
charts that answer, no network."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from browser import Witness

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.browser
PAPER = sorted(f.name for f in (ROOT / "nbs").glob("0[0-7]_*.ipynb"))
VEGA = "application/vnd.vegalite.v5+json"
TOKEN = "a-token-of-this-test"
SECOND = 1000 # Playwright counts milliseconds


def wait_for(what, seconds, still=lambda: True):
    "The first true value of a function, or None when time is up or there is no hope."
    end = time.monotonic() + seconds
    while time.monotonic() < end and still():
        if value := what(): return value
        time.sleep(.1)


@pytest.fixture(scope="module")
def lab(tmp_path_factory, browser):
    """A server as `make lab` starts it, on a copy of the repository, for a user who has a broken kernel of
    the same name."""
    home = tmp_path_factory.mktemp("lab")
    copy, runtime, kernel = home / "copy", home / "runtime", home / "data" / "kernels" / "python3"
    for folder in "nbs", "figures", "docs/lab":
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns(".*", "_*"))
    for file in "Makefile", "README.md": shutil.copy(ROOT / file, copy)
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "broken",
                                                    "language": "python"}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    is_root = getattr(os, "geteuid", int)() == 0
    options = f"--no-browser --ip=127.0.0.1 --port={port}" + " --allow-root" * is_root
    # nothing of the user's own, and none of the make that may have started this test
    env = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "MAKE"))}
    env |= {f"JUPYTER_{k.upper()}_DIR": str(home / k) for k in ("config", "data", "runtime")}
    env |= {f"JUPYTERLAB_{k.upper()}_DIR": str(home / k) for k in ("settings", "workspaces")}
    env |= {"JUPYTER_TOKEN": TOKEN, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (home / "log").open("w") as log:
        # -o: the environment that runs this test is there
        command = ["make", "-o", ".venv/ok", f"BIN={Path(sys.executable).parent}", f"P={options}", "lab"]
        server = subprocess.Popen(command, cwd=copy, env=env, stdout=log, stderr=subprocess.STDOUT,
                                  start_new_session=True)
    try:
        file = wait_for(lambda: next(runtime.glob("jpserver-*.json"), None), 120,
                        lambda: server.poll() is None)
        assert file, (home / "log").read_text()
        yield json.loads(file.read_text())["url"], copy
    finally:
        os.killpg(server.pid, signal.SIGTERM) # the server ends its kernels
        try: server.wait(30)
        except subprocess.TimeoutExpired: os.killpg(server.pid, signal.SIGKILL)


@pytest.fixture
def visit(lab, browser):
    "Opens a path of the server; at the end nothing was asked of another host, and nothing failed."
    url, _ = lab
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(60 * SECOND)
    witness = Witness(context, url)

    def go(path):
        page = context.new_page()
        page.goto(f"{url}{path}?token={TOKEN}")
        return page
    try:
        yield go
        assert (witness.foreign, witness.failed, witness.errors) == ([], [], [])
    finally: context.close()


def opened(page):
    """A notebook's page when its kernel is there; JupyterLab calls a kernel idle before there is one, so its
    name is waited for too."""
    page.wait_for_selector(".jp-KernelName:has-text('Python 3 (ipykernel)')", state="attached")
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", state="attached")
    return page


PROMPTS = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(e => e.textContent)"


def run_all(page):
    "Run ▸ Run All Cells, and what the page says once every cell has run."
    def started():
        assert not (dialog := page.locator(".jp-Dialog")).count(), dialog.inner_text()
        page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).click()
        # while the notebook is still on its way to the front, the entry is there but does nothing
        entry = page.locator(".lm-Menu-item:not(.lm-mod-disabled) .lm-Menu-itemLabel",
                             has_text=re.compile("^Run All Cells$"))
        if not entry.count(): return page.keyboard.press("Escape")
        entry.click()
        return wait_for(lambda: page.evaluate(f"{PROMPTS}.some(t => /[*1]/.test(t))"), 10)
    assert wait_for(started, 60), "no cell started"
    idle = "document.querySelector('.jp-Notebook-ExecutionIndicator').dataset.status == 'idle'"
    page.wait_for_function(f"{idle} && !{PROMPTS}.some(t => t.includes('*'))", timeout=400 * SECOND)


def saved(page, file):
    "The notebook's code cells as Ctrl+S leaves them in the file."
    before = file.stat().st_mtime_ns

    def whole():
        try: return file.stat().st_mtime_ns != before and nbformat.read(file, as_version=4)
        except nbformat.reader.NotJSONError: return None # half written
    page.keyboard.press("Control+s")
    written = wait_for(whole, 30)
    assert written, f"{file.name} was not saved"
    return [c for c in written.cells if c.cell_type == "code"]


def charts(cells): return sum(VEGA in output.get("data", {}) for cell in cells for output in cell.outputs)

def drawn(page, count):
    "Whether the charts are there; each is a canvas."
    page.wait_for_function(f"document.querySelectorAll('.vega-embed canvas').length == {count}")

def images_loaded(page):
    page.wait_for_function("[...document.querySelectorAll('.jp-Notebook img')].every(i => i.complete && "
                           "i.naturalWidth)")


# where a canvas has coloured marks, wider than its lines: at most 60 places, in the page's pixels
COLOURED = """canvas => {
    const {width, height} = canvas, found = []
    const {data} = canvas.getContext('2d').getImageData(0, 0, width, height)
    const coloured = i => { const rgb = data.slice(i, i + 3)
                            return data[i + 3] && Math.max(...rgb) - Math.min(...rgb) > 60 }
    for (let i = 0; i < data.length; i += 4)
        if ([0, -8, 8, -8 * width, 8 * width].every(way => coloured(i + way))) found.push(i / 4)
    const zoom = canvas.getBoundingClientRect().width / width
    return found.filter((_, n) => n % Math.ceil(found.length / 60) == 0)
                .map(i => [i % width * zoom, Math.floor(i / width) * zoom])
}"""


def answers(page):
    "Whether some mark of a chart shows its numbers when pointed at."
    for chart in page.locator(".vega-embed canvas").all():
        chart.scroll_into_view_if_needed()
        for x, y in chart.evaluate(COLOURED):
            chart.hover(position={"x": x, "y": y}, force=True)
            if wait_for(lambda: page.locator("#vg-tooltip-element.visible").count(), .3): return True
    return False


def test_the_start_page_leads_to_every_notebook(visit, lab):
    page = visit("")
    page.wait_for_selector(".jp-MarkdownViewer h1:has-text('Start here')")
    links = page.eval_on_selector_all(".jp-MarkdownViewer td a", "all => all.map(a => a.textContent)")
    # all but index.ipynb, which is the README
    assert len(links) == len(list((lab[1] / "nbs").rglob("*.ipynb"))) - 1
    page.get_by_role("link", name=re.compile("^01 ")).click()
    opened(page)
    assert "Information abundance" in page.text_content(".jp-Notebook h1")
    assert page.locator(".Toastify__toast").count() == 0 # nothing popped up


@pytest.mark.parametrize("name", PAPER)
def test_a_notebook_of_the_paper(visit, lab, name):
    page, file = opened(visit(f"lab/workspaces/{name[:2]}/tree/nbs/{name}")), lab[1] / "nbs" / name
    before = [c for c in nbformat.read(ROOT / "nbs" / name, as_version=4).cells if c.cell_type == "code"]
    drawn(page, charts(before)) # nobody has said that these outputs are to be trusted
    images_loaded(page)
    run_all(page)
    cells = saved(page, file)
    errors = [o.get("traceback", o) for c in cells for o in c.outputs if o.output_type == "error"]
    assert errors == []
    assert [c.source for c in cells if c.source.strip() and c.execution_count is None] == []
    assert charts(cells) or name.startswith("00")
    drawn(page, charts(cells))
    images_loaded(page)
    assert not charts(cells) or answers(page)
