"""Made-up raw files are in the format to the byte, whole or not there; Frappe and MovieLens go from their
files to a trained model."""
import gzip
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from test_commands import collapse, interrupted, start

from collapse_nb.data.cards import load_card
from collapse_nb.data.encode import encode
from collapse_nb.data.made_up.raw import CHUNK, raw_blocks, write_raw
from collapse_nb.data.source import open_source
from collapse_nb.records import InputError

ROOT = Path(__file__).resolve().parents[1]
MAIN = ("-c", "from collapse_nb.cli import main; main()")
CRITEO = re.compile(rb"[01](\t(-?[1-9]\d{0,7}|0)?){13}(\t([0-9a-f]{8})?){26}")
AVAZU = re.compile(rb"[1-9]\d{16,19},[01],1410[23]\d([01]\d|2[0-3]),10\d\d,[0-7](,[0-9a-f]{8}){9}"
                   rb",[0-5],[0235],\d{3,5},\d{2,4},\d{2,4},\d{3,4},[0-3],\d{2,4},(-1|100\d{3}),\d{1,3}")


@pytest.mark.parametrize("format, line", [("criteo", CRITEO), ("avazu", AVAZU)])
def test_every_line_is_in_the_format(format, line):
    text = b"".join(raw_blocks(format, 2 * CHUNK + 11, seed=3))
    assert text.endswith(b"\n") and b"\r" not in text and b"\0" not in text
    lines = text.split(b"\n")[format == "avazu":-1]
    assert len(lines) == 2 * CHUNK + 11
    assert [x for x in lines if not line.fullmatch(x)][:3] == []


def test_avazu_is_sorted_by_hour_over_ten_days():
    lines = b"".join(raw_blocks("avazu", 3 * CHUNK)).splitlines()[1:]
    hours = np.array([int(x.split(b",")[2]) for x in lines])
    assert (np.diff(hours) >= 0).all() and len(set(hours)) == 240
    assert (hours[0], hours[-1]) == (14102100, 14103023)
    assert len({x.split(b",")[0] for x in lines}) == len(lines)


@pytest.mark.parametrize("format, suffix", [("criteo", "train.txt"), ("avazu", "train.csv.gz")])
def test_encodes_and_its_label_is_learnable(tmp_path, format, suffix):
    done = collapse(tmp_path, "synth", format, "--rows", 40_000, "--out", suffix, "--seed", 5)
    assert done.returncode == 0 and "40,000 rows" in done.stdout, done.stderr
    data = encode(format, tmp_path / suffix, tmp_path / "enc")
    assert sum(len(part) for part in (data.train, data.valid, data.test)) == 40_000
    most = load_card(format).published.cardinalities
    assert all(d <= 1.1 * p + 3 for d, p in zip(data.schema.cardinalities, most, strict=True))
    scores = 0  # click rates of the training rows, added up over the fields as log odds
    for i, size in enumerate(data.schema.cardinalities):
        ones, all_ = (np.bincount(data.train.x[:, i], weights, size) for weights in (data.train.y, None))
        rate = (ones + 20 * data.label_rate) / (all_ + 20)
        scores = scores + np.log(rate / (1 - rate))[data.test.x[:, i]]
    assert roc_auc_score(data.test.y, scores) > .6


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM])
def test_killed_it_leaves_no_half_file(tmp_path, blow):
    words = [sys.executable, *MAIN, "synth", "criteo", "--rows", "30000000", "--out", "o/train.txt"]
    process = subprocess.Popen(words, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
                               stderr=subprocess.DEVNULL)
    while not any(f.stat().st_size for f in tmp_path.glob("o/.train.txt.*.tmp")) and process.poll() is None:
        time.sleep(.01)
    process.send_signal(blow)
    # SIGTERM is heard and what was begun is tidied away; SIGKILL is not: its leavings wait for the next one
    assert process.wait() == (143 if blow == signal.SIGTERM else -blow)
    left = os.listdir(tmp_path / "o")
    assert left == [] if blow == signal.SIGTERM else len(left) == 1 and left[0].endswith(".tmp")
    write_raw("criteo", 10, tmp_path / "o" / "train.txt")
    assert os.listdir(tmp_path / "o") == ["train.txt"]  # and the next one tidies up


def test_interrupted(tmp_path):
    process = start(*MAIN, "synth", "avazu", "--rows", 30_000_000, "--out", "o/train.csv.gz", cwd=tmp_path)
    while not list(tmp_path.glob("o/.train.csv.gz.*.tmp")) and process.poll() is None: time.sleep(.01)
    assert (interrupted(process).endswith("collapse: stopped; finished work is kept.\n")
            and os.listdir(tmp_path / "o") == [])


@pytest.mark.parametrize("name", ["train.txt", "train.txt.gz"])
def test_full_disk(small_disk, name):
    with pytest.raises(InputError, match="is full: make room"): write_raw("criteo", 20_000, small_disk / name)
    assert os.listdir(small_disk) == []


def test_same_rows_packed_or_not(tmp_path):
    plain, packed = (write_raw("avazu", CHUNK + 1, tmp_path / name, seed=2) for name in ("a.csv", "a.csv.gz"))
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()


def frappe_folder(folder: Path) -> None:
    "Frappe's three files, generated: an app that its user likes is used."
    rng = np.random.default_rng(0)
    sizes = np.array(load_card("frappe").published.cardinalities) - 1
    for name, rows in zip(load_card("frappe").files, (4200, 1200, 600), strict=True):
        ids = np.stack([np.minimum(rng.zipf(1.3, rows) - 1, d - 1) for d in sizes], axis=1)
        label = np.where(rng.random(rows) < .15 + .5 * ((ids[:, 0] + ids[:, 1]) % 2), "1", "-1")
        lines = (f"{y} " + " ".join(f"{k}:1" for k in row)
                 for y, row in zip(label, ids + np.cumsum(sizes) - sizes, strict=True))
        (folder / name).write_text("\n".join(lines) + "\n")


def movielens_folder(folder: Path) -> None:
    "MovieLens' three files, generated: people of one gender like every other movie."
    rng = np.random.default_rng(0)
    users, movies = rng.integers(1, 301, 6000), np.minimum(rng.zipf(1.4, 6000), 200)
    stars = np.clip(3 + 2 * ((users + movies) % 2) - rng.integers(0, 2, 6000), 1, 5)
    (folder / "ratings.dat").write_text("".join(f"{u}::{m}::{s}::97830{u:04d}\n"
                                                for u, m, s in zip(users, movies, stars, strict=True)))
    (folder / "users.dat").write_text("".join(f"{u}::{'FM'[u % 2]}::25::{u % 21}::{u % 90:05d}\n"
                                              for u in range(1, 301)))
    films = "".join(f"{m}::Am\xe9lie: part {m} ({1950 + m % 50})::Comedy|Drama\n" for m in range(1, 201))
    (folder / "movies.dat").write_bytes(films.encode("latin-1"))


@pytest.mark.parametrize("name, make, broken, message", [
    ("frappe", frappe_folder, "frappe.validation.libfm", "line 1201 has 1 columns where 11 are expected"),
    ("movielens-1m", movielens_folder, "movies.dat", "line 201 has 1 columns where 3 are expected")],
                         ids=["frappe", "movielens"])
def test_from_files_to_a_trained_model(tmp_path, monkeypatch, name, make, broken, message):
    (tmp_path / "raw").mkdir()
    make(tmp_path / "raw")
    encoded = collapse(tmp_path, "encode", name, "--source", "raw", "--out", "enc")
    assert (encoded.returncode == 0
            and f"{len(load_card(name).fields)} fields" in encoded.stdout), encoded.stderr
    fit = ("fit", name, "--source", "enc", "--model", "FM", "--max-epochs", 2, "--device", "cpu")
    trained = collapse(tmp_path, *fit)
    assert trained.returncode == 0 and "done" in trained.stdout, trained.stderr
    monkeypatch.setattr("collapse_nb.data.source.home", lambda: tmp_path)
    # the folder of raw files itself, encoded once and found again
    opened = open_source(name, str(tmp_path / "raw"))
    again = open_source(name, str(tmp_path / "raw"))
    assert opened.fingerprint == again.fingerprint == encode(name, tmp_path / "raw",
                                                             tmp_path / "enc").fingerprint
    with open(tmp_path / "raw" / broken, "a") as file: file.write("3\n")
    with pytest.raises(InputError, match=message): open_source(name, str(tmp_path / "raw"))
    (tmp_path / "raw" / broken).unlink()
    with pytest.raises(InputError, match=f"lacks {broken}"): open_source(name, str(tmp_path / "raw"))
    assert len(list((tmp_path / "data" / "encoded").iterdir())) == 1
