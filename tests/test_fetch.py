"""Downloads from a server of our own that misbehaves: they go on, or say in a sentence why they cannot, and
leave no wrong file behind."""
import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from test_commands import collapse

from collapse_nb.data.cards import Card
from collapse_nb.data.sources.fetch import fetch
from collapse_nb.records import InputError

ROOT = Path(__file__).resolve().parents[1]
CONTENT = os.urandom(300_000)
ROWS = b"".join(b"%d,%d,%d\n" % (i % 7, i % 11, i * i % 5 < 2) for i in range(3000))


class Server(ThreadingHTTPServer):
    "One file; the attributes say how it is served."
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.tag, self.ranges, self.says_length, self.status = CONTENT, '"1"', True, True, 200
        # bytes an answer; answers of 503; pause per 64 KiB; ranges
        self.sends, self.failing, self.seconds, self.asked = 10**9, 0, 0., []
    @property
    def url(self) -> str: return f"http://127.0.0.1:{self.server_port}/clicks.csv"
    def handle_error(self, *_): pass  # a client that is killed hangs up


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_): pass

    def begin(self) -> int:
        "The byte to send from; -1 where nothing is to be sent."
        s, wanted = self.server, self.headers.get("Range", "")
        s.asked.append(wanted)
        same = self.headers.get("If-Range") == s.tag
        start = int(wanted[6:-1]) if wanted and s.ranges and same else 0
        s.failing -= 1
        status = (503 if s.failing >= 0 else s.status if s.status != 200 else 416 if start >= len(s.content)
                  else 206 if start else 200)
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(s.content) - 1}/{len(s.content)}")
        if status == 416: self.send_header("Content-Range", f"bytes */{len(s.content)}")
        if s.tag: self.send_header("ETag", s.tag)
        if s.says_length:
            self.send_header("Content-Length", str(len(s.content) - start if status in (200, 206) else 0))
        self.end_headers()
        return start if status in (200, 206) else -1

    def do_GET(self):
        if (start := self.begin()) < 0: return
        for at in range(start, min(len(self.server.content), start + self.server.sends), 1 << 16):
            self.wfile.write(self.server.content[at:min(at + (1 << 16), start + self.server.sends)])
            time.sleep(self.server.seconds)


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def card(server: Server, files: tuple[str, ...] = (), **entries) -> Card:
    download = {"url": server.url, "file": "clicks.csv"} | entries
    return Card(name="mine", label="bought", fields=["day", "item"], files=files, downloads=[download])


def sha256(content: bytes) -> str: return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("checks", [{}, {"size": len(CONTENT)}, {"md5": hashlib.md5(CONTENT).hexdigest()},
                                    {"sha256": sha256(CONTENT)}])
def test_whole(tmp_path, server, checks):
    assert fetch(card(server, **checks), tmp_path / "raw" / "mine").read_bytes() == CONTENT
    assert sorted(os.listdir(tmp_path / "raw" / "mine")) == ["clicks.csv", "fetched.json"]
    fetch(card(server, **checks), tmp_path / "raw" / "mine")
    assert server.asked == [""]  # what is there is not asked for again


def test_broken_connections(tmp_path, server):
    server.sends = 65_000
    assert fetch(card(server), tmp_path, pause_s=0).read_bytes() == CONTENT
    assert server.asked == ["", *[f"bytes={65_000 * i}-" for i in range(1, 5)]]


@pytest.mark.parametrize("ranges, tag", [(False, '"1"'), (True, "")])
def test_without_ranges_it_begins_anew(tmp_path, server, ranges, tag):
    server.sends, server.ranges, server.tag = 65_000, ranges, tag
    with pytest.raises(InputError, match=r"broke off\): try again later; 65,000 bytes are kept"):
        fetch(card(server), tmp_path, pause_s=0)
    assert len(server.asked) >= 5 and not (tmp_path / "clicks.csv").exists()
    server.sends = 10**9
    assert fetch(card(server), tmp_path).read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile(tmp_path, server):
    (tmp_path / "clicks.csv.part").write_bytes(b"old" * 1000)
    (tmp_path / "clicks.csv.part.from").write_text('"0"')
    assert fetch(card(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=3000-"]


@pytest.mark.parametrize("had, asked", [(CONTENT, 1), (CONTENT + b"more", 2)])
def test_a_part_that_is_whole_or_too_long(tmp_path, server, had, asked):
    (tmp_path / "clicks.csv.part").write_bytes(had)
    (tmp_path / "clicks.csv.part.from").write_text('"1"')
    assert fetch(card(server), tmp_path, pause_s=0).read_bytes() == CONTENT
    assert len(server.asked) == asked


def test_a_busy_server(tmp_path, server):
    server.failing = 3
    assert fetch(card(server), tmp_path, pause_s=0).read_bytes() == CONTENT
    server.failing = 99
    with pytest.raises(InputError, match="the server answers 503"):
        fetch(card(server), tmp_path / "other", pause_s=0)


def test_without_a_length(tmp_path, server):
    server.says_length = False
    assert fetch(card(server), tmp_path).read_bytes() == CONTENT
    server.sends = 1000  # nobody can tell that this is not all, but the size in the card
    with pytest.raises(InputError, match=r"size 1000 where its card says 300000"):
        fetch(card(server, size=len(CONTENT)), tmp_path / "other")


@pytest.mark.parametrize("checks", [{"size": 5}, {"md5": "0" * 32}, {"sha256": "0" * 64}])
def test_wrong_checksum(tmp_path, server, checks):
    with pytest.raises(InputError, match=rf"has the {next(iter(checks))} .* where its card says"):
        fetch(card(server, **checks), tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_there(tmp_path, server):
    fetch(card(server), tmp_path)
    (tmp_path / "clicks.csv").write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match=r"fetched.json has from the first time"):
        fetch(card(server), tmp_path)
    (tmp_path / "clicks.csv").unlink()
    server.content = CONTENT[::-1]  # the server has another file now, and no checksum is published
    with pytest.raises(InputError, match=r"has the sha256 .* fetched.json has from the first time"):
        fetch(card(server), tmp_path)
    assert os.listdir(tmp_path) == ["fetched.json"]


@pytest.mark.parametrize("status", [404, 403, 410])
def test_not_found(tmp_path, server, status):
    server.status = status
    with pytest.raises(InputError, match=rf"the server answers {status}.*may have moved"):
        fetch(card(server), tmp_path)
    assert len(server.asked) == 1


def test_connection_refused(tmp_path, server):
    mine = card(server)
    server.shutdown(), server.server_close()
    with pytest.raises(InputError, match=r"Connection refused.*try again later"):
        fetch(mine, tmp_path, pause_s=0)
    assert os.listdir(tmp_path) == []


def test_full_disk(server, small_disk):
    with pytest.raises(InputError, match="is full: make room"): fetch(card(server), small_disk)
    assert not (small_disk / "clicks.csv").exists()
    subprocess.run(["mount", "-o", "remount,size=1m", small_disk], check=True)
    assert fetch(card(server), small_disk).read_bytes() == CONTENT
    assert server.asked[1].startswith("bytes=")  # it went on from what was there


def write_card(folder: Path, server: Server, extra: str = "") -> None:
    (folder / "mine.toml").write_text('label = "bought"\nfields = ["day", "item"]\nmin_count = 2\ncolumns = '
                                      '["day", "item", "bought"]\n'
                                      f'{extra}[[downloads]]\nurl = "{server.url}"\nfile = "clicks.csv"\n')


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM])
def test_killed_and_started_again(tmp_path, server, blow):
    server.content, server.seconds = ROWS * 20, .2
    write_card(tmp_path, server)
    main = "from collapse_nb.cli import main; main()"
    words = [sys.executable, "-c", main, "encode", "mine.toml", "--fetch", "--source", "raw", "--out", "enc"]
    process = subprocess.Popen(words, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
                               stderr=subprocess.DEVNULL)
    part = tmp_path / "raw" / "clicks.csv.part"
    while not (part.exists() and part.stat().st_size) and process.poll() is None: time.sleep(.01)
    process.send_signal(blow)
    assert process.wait() != 0 and not (tmp_path / "raw" / "clicks.csv").exists()
    server.seconds = 0
    done = collapse(tmp_path, *words[3:])
    assert done.returncode == 0 and "48,000 train" in done.stdout, done.stderr
    assert (tmp_path / "raw" / "clicks.csv").read_bytes() == ROWS * 20


def test_an_archive(tmp_path, server):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("inside/clicks.csv", ROWS), file.writestr("inside/other", b"")
    server.content = packed.getvalue()
    md5 = hashlib.md5(server.content).hexdigest()
    mine = card(server, ("clicks.csv",), file="mine.zip", md5=md5, unpack=["inside/clicks.csv"])
    assert fetch(mine, tmp_path / "raw") == tmp_path / "raw"
    assert ((tmp_path / "raw" / "clicks.csv").read_bytes() == ROWS
            and not (tmp_path / "raw" / "other").exists())
    (tmp_path / "raw" / "clicks.csv").write_bytes(b"cut")
    fetch(mine, tmp_path / "raw")
    assert (tmp_path / "raw" / "clicks.csv").read_bytes() == ROWS and len(server.asked) == 1


def test_no_archive(tmp_path, server):
    with pytest.raises(InputError, match="is not the archive that was expected"):
        fetch(card(server, file="a.zip", unpack=["a"]), tmp_path)


def test_how_to_get_the_rest(tmp_path):
    done = collapse(tmp_path, "encode", "criteo", "--fetch", "--source", "raw")
    assert done.returncode == 2 and "sign the terms" in done.stderr and "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []
