"Fixtures that several test modules use."
import shutil
import subprocess

import pytest


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
