"Fixtures that several test files share."
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from browser import chromium
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def browser():
    "A headless Chromium, closed when the test file is done."
    with chromium() as browser: yield browser


@pytest.fixture(scope="session")
def site(tmp_path_factory, worker_id):
    "The built documentation site's folder; a warning of the build is an error. One worker builds it for all."
    pytest.importorskip("sphinx", reason="no Sphinx: pip install -e '.[site]'")
    base = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    with FileLock(base / "site.lock"):
        if not (done := base / "site.done").exists():
            env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "docs"), str(ROOT)])}
            built = subprocess.run([sys.executable, "-m", "website", base / "site"], cwd=ROOT, env=env,
                                   capture_output=True, text=True)
            assert built.returncode == 0 and not built.stderr, built.stdout + built.stderr
            done.touch()
    return base / "site" / "html"


@pytest.fixture
def small_disk(tmp_path):
    "A file system of 128 KiB."
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", disk]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs privileges")
    yield disk
    subprocess.run(["umount", disk], check=True)
