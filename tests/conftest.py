"Fixtures that several test files share."
import pytest
from browser import chromium


@pytest.fixture(scope="module")
def browser():
    "A headless Chromium, closed when the test file is done."
    with chromium() as found: yield found
