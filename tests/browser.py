"A headless Chromium for the tests, and a witness of what its pages ask for and complain of."
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = (f"no browser: `playwright install chromium`, or one of {', '.join(PROGRAMS)} on the PATH (Debian: "
           "apt-get install chromium)")


@contextmanager
def chromium(**how) -> Iterator:
    """Playwright's own Chromium where it was downloaded, else one on the PATH; without either the test is
    skipped. `how` it is launched, such as its environment, `env`."""
    # Playwright's loop runs in this thread as long as it is open, and asyncio.run fails meanwhile: close it
    # before another test file
    sync_api = pytest.importorskip("playwright.sync_api",
                                   reason="no Playwright: pip install playwright, which the dev extra brings")
    with sync_api.sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        program = str(own) if own.is_file() else next(filter(None, map(shutil.which, PROGRAMS)), None)
        if not program: pytest.skip(MISSING)
        browser = playwright.chromium.launch(executable_path=program, **how)
        try: yield browser
        finally: browser.close()


class Witness:
    "Requests to other hosts, failed requests, and errors in the console of every page of a context."
    def __init__(self,
        context, # a browser context of Playwright, before its first page
        origin: str = "", # what our own requests start with: http://127.0.0.1:8888; empty: files alone
    ):
        self.origin, self.foreign, self.failed, self.errors = origin, [], [], []
        context.on("request", self.request)
        context.on("response", self.response)
        # a page takes a request back when it replaces an image before it has come
        context.on("requestfailed", lambda r: "ERR_ABORTED" in (r.failure or "")
                   or self.failed.append(f"{r.url}: {r.failure}"))
        context.on("console", lambda m: m.type == "error" and self.errors.append(m.text))
        context.on("weberror", lambda e: self.errors.append(str(e.error)))

    def request(self,
        request, # Playwright's
    ):
        "Note a request to a host that is not ours."
        scheme = urlsplit(request.url).scheme
        ours = scheme in ("data", "blob") or request.url.startswith(self.origin or "file:")
        if not ours: self.foreign.append(request.url)

    def response(self,
        response, # Playwright's
    ):
        "Note an answer that is an error."
        if response.status >= 400: self.failed.append(f"{response.url}: {response.status}")
