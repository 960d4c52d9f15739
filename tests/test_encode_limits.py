"""Encoding under hard conditions: killed at any instant, in bounded memory, on a disk that is not much
larger than the result."""
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from test_commands import MAIN, collapse, start

from collapse_nb.data.dataset import open_encoded
from collapse_nb.data.made_up.raw import write_raw


def phase(folder: Path) -> str:
    "What an encoder is doing, as its files say."
    names = {f.name for f in folder.glob(".out.*.tmp/**/*")}
    for name in "x.npy", "bucket0", "vocabulary.parquet", "staged":
        if name in names: return name
    return "begun" if list(folder.glob(".out.*.tmp")) else ""


@pytest.fixture(scope="module")
def larger(tmp_path_factory) -> Path:
    return write_raw("criteo", 60_000, tmp_path_factory.mktemp("larger") / "train.txt", 0)


@pytest.mark.parametrize("at", ["begun", "staged", "bucket0", "x.npy"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_killed(tmp_path, larger, at, how):
    "Complete or absent; and what SIGKILL leaves is swept up by the next one."
    words = ("encode", "criteo", "--source", larger, "--out", tmp_path / "out")
    process = start(*MAIN, *words, cwd=tmp_path)
    order = ["", "begun", "staged", "vocabulary.parquet", "bucket0", "x.npy"]
    while order.index(phase(tmp_path)) < order.index(at) and process.poll() is None: time.sleep(.001)
    process.send_signal(how)
    with process: err = process.stderr.read()
    left = os.listdir(tmp_path)
    if process.returncode == 0: assert left == ["out"] and open_encoded(tmp_path / "out") # it was faster
    elif how == signal.SIGTERM: assert (process.returncode, left) == (143, []) and "Traceback" not in err, err
    else: assert process.returncode == -signal.SIGKILL and "out" not in left
    assert collapse(tmp_path, *words).returncode == 0 and os.listdir(tmp_path) == ["out"]


def peak_and_disk(source: Path, out: Path) -> tuple[float, float]:
    """Peak memory in bytes, and the largest size of everything on disk over that of the result, in a process
    of its own."""
    sizes, done = [0], threading.Event()

    def watch():
        while not done.wait(.01):
            try: sizes.append(sum(f.stat().st_size for f in out.parent.rglob("*") if f.is_file()))
            except FileNotFoundError: pass
    thread = threading.Thread(target=watch)
    thread.start()
    # VmHWM is this process's own; getrusage would begin with what the parent held
    call = ("import re; from collapse_nb.data.encode import encode; "
            f"encode('criteo', {str(source)!r}, {str(out)!r}); "
            r"print(re.search(r'VmHWM:\s+(\d+)', open('/proc/self/status').read())[1])")
    printed = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True).stdout
    done.set()
    thread.join()
    return int(printed) * 1024, max(sizes) / sum(f.stat().st_size for f in out.iterdir())


def test_memory_and_disk(tmp_path):
    """Four times the rows, the same values: memory does not follow the rows, and disk stays below two and a
    half times the result."""
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    # the allocator's moods are 100 MB
    one, four = write_raw("criteo", 600_000, tmp_path / "one.txt", 0), tmp_path / "four.txt"
    with open(four, "wb") as file:
        for _ in range(4): file.write(one.read_bytes())
    small, _ = peak_and_disk(one, tmp_path / "a" / "out")
    large, disk = peak_and_disk(four, tmp_path / "b" / "out")
    assert large - small < (four.stat().st_size - one.stat().st_size) / 2 and disk < 2.5
