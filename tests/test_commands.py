"""The two doors a user has, papermill and the `collapse` command, with good and bad input."""
import gzip
import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
CARD = 'label = "bought"\nfields = ["day", "item"]\nmin_count = 2\n'
TABLE = "day,item,bought\n" + "".join(f"{i % 7},{i % 11},{int(i * i % 5 < 2)}\n" for i in range(3000))


# a test run in the background may have been told to ignore Ctrl-C, and its children with it
HEARD = ("import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], "
         "sys.argv[1:])")
MAIN = ("-c", "from collapse_nb.cli import main; main()")


def start(*words: object, cwd: Path) -> subprocess.Popen:
    "A command in a process of its own, with this repository's library."
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", HEARD, sys.executable, *map(str, words)]
    return subprocess.Popen(command, cwd=cwd, env=env, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def command(*words: object, cwd: Path) -> subprocess.CompletedProcess:
    with start(*words, cwd=cwd) as process: out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def papermill(cwd: Path, *parameters: object) -> subprocess.CompletedProcess:
    places = ("-p", "store", cwd / "store", "-p", "out_dir", cwd / "out")
    return command("-m", "papermill", ROOT / "nbs/06_scaling.ipynb", cwd / "done.ipynb", *places, *parameters,
                   cwd=cwd)


def collapse(cwd: Path, *words: object) -> subprocess.CompletedProcess:
    return command(*MAIN, *words, cwd=cwd)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    "A folder with a card and a table, in a place with a space and an umlaut in its name."
    place = tmp_path / "Über uns"
    place.mkdir()
    (place / "own.toml").write_text(CARD)
    (place / "own.csv").write_text(TABLE)
    return place


SMALL = ("-y", "{models: [DNN], scales: [1, 2], seeds: 2, max_epochs: 1}")


def test_papermill_on_a_table_of_ones_own(own):
    first = papermill(own, "-p", "dataset", "own.toml", "-p", "source", "own.csv", *SMALL)
    assert first.returncode == 0, first.stderr[-2000:]
    text = (own / "done.ipynb").read_text()
    assert "not run here" in text and '"output_type": "error"' not in text
    assert len(pd.read_csv(own / "out/runs-own.csv")) == 6
    assert {"table1-own.csv", "differences-own.csv",
            "findings-06-own.csv"} <= {f.name for f in (own / "out").iterdir()}
    for stem in ("fig7-own", "fig1a-own", "difference-own"):
        assert "vega-lite" in json.loads((own / "out" / f"{stem}.json").read_text())["$schema"]
        assert ET.parse(own / "out" / f"{stem}.svg").getroot().tag.endswith("svg")
    before = {f: f.stat().st_mtime_ns for f in (own / "store").rglob("*")}
    assert papermill(own, "-p", "dataset", "own.toml", "-p", "source", "own.csv", *SMALL).returncode == 0
    assert {f: f.stat().st_mtime_ns for f in (own / "store").rglob("*")} == before  # nothing was run again


@pytest.mark.parametrize("sizes", ["{models: [DNN], scales: [2], seeds: 1, rows: 2048, max_epochs: 1}",
                                   "{models: [DNN], designs: [ME], scales: [1], seeds: 1, rows: 2048, "
                                   "max_epochs: 1}"])
def test_papermill_without_a_base_or_a_second_design(tmp_path, sizes):
    done = papermill(tmp_path, "-y", sizes)
    assert done.returncode == 0, done.stderr[-2000:]


BAD_PARAMETERS = {
    "unknown parameter": (("-p", "scale", "2"), "unknown parameter 'scale': did you mean 'scales'?"),
    "unknown model": (("-y", "{models: [DCN2]}"), "unknown model 'DCN2': did you mean 'DCNv2'?"),
    "wrong type": (("-p", "seeds", "three"), "Scaling seeds = 'three'"),
    "scale 0": (("-y", "{scales: [0]}"), "give at least 1"),
    "too many rows": (("-p", "rows", "1000000000"), "training rows were asked for"),
    "unknown dataset": (("-p", "dataset", "hflight"), "did you mean 'hflights'?"),
}


@pytest.mark.parametrize("parameters,message", BAD_PARAMETERS.values(), ids=BAD_PARAMETERS)
def test_papermill_refuses(tmp_path, parameters, message):
    done = papermill(tmp_path, *parameters)
    assert done.returncode != 0
    assert message in done.stderr[-800:] and "in <module>" not in done.stderr[-800:]
    assert not (tmp_path / "store").exists() and not list((tmp_path / "out").glob("*"))


def test_collapse_from_table_to_runs(own):
    (own / "own.csv.gz").write_bytes(gzip.compress(TABLE.encode()))
    encoded = collapse(own, "encode", "own.toml", "--source", "own.csv.gz", "--out", "enc")
    assert encoded.returncode == 0 and "2,400 train" in encoded.stdout
    fit = ("fit", "own.toml", "--source", "enc", "--model", "DCNv2", "--design", "ME", "--scale", 2,
           "--seeds", 2, "--max-epochs", 1)
    first, again = collapse(own, *fit), collapse(own, *fit)
    assert first.returncode == again.returncode == 0 and first.stdout == again.stdout
    run = own / first.stdout.split("kept in ")[1].strip()
    assert (run / "encoding.json").read_bytes() == (own / "enc/schema.json").read_bytes()
    assert (run / "vocabulary.parquet").read_bytes() == (own / "enc/vocabulary.parquet").read_bytes()
    exported = collapse(own, "export", run, "--onnx", "own.onnx")
    assert (exported.returncode == 0 and "ids (rows, 2)" in exported.stdout
            and (own / "own.onnx").stat().st_size > 0)
    rows = json.loads(collapse(own, "runs", "--format", "json").stdout)
    assert [(r["dataset"], r["model"], r["seed"], r["status"])
            for r in rows] == [("own", "DCNv2", s, "done") for s in (0, 1)]
    assert len(collapse(own, "runs", "--format", "csv").stdout.splitlines()) == 3
    assert all(f"{r['test_auc']:.5f}" in collapse(own, "runs").stdout for r in rows)
    unread = [start(*MAIN, *words, cwd=own) for words in (["runs"], ["runs", "--format", "csv"],
                                                          ["fit", "--help"])]
    for process in unread: process.stdout.close() # as `| head -1` does, when it has its line
    for process in unread:
        with process: assert (process.stderr.read(), process.wait()) == ("", 1)


def interrupted(process: subprocess.Popen) -> str:
    "What a command says to Ctrl-C."
    process.send_signal(signal.SIGINT)
    with process: err = process.stderr.read()
    assert process.returncode == 130 and "Traceback" not in err and "Aborted" not in err, err
    return err


STOPPED = "collapse: stopped; finished work is kept.\n"


def test_interrupt_while_encoding(own):
    (own / "own.csv").write_text(TABLE + TABLE.split("\n", 1)[1] * 300)
    process = start(*MAIN, "encode", "own.toml", "--source", "own.csv", "--out", "out/enc", cwd=own)
    while not list(own.glob("out/.enc.*.tmp")) and process.poll() is None: time.sleep(.01)
    assert interrupted(process).endswith(STOPPED) and os.listdir(own / "out") == []


def test_interrupt_while_training(own):
    assert collapse(own, "encode", "own.toml", "--source", "own.csv", "--out", "enc").returncode == 0
    process = start(*MAIN, "fit", "own.toml", "--source", "enc", "--scale", 20, "--store", "store", cwd=own)
    assert "so far" in "".join(process.stderr.read(1) for _ in range(40)) # the bar over groups: it has begun
    assert interrupted(process).endswith(STOPPED) and not list(own.glob("store/*"))


def test_interrupt_while_starting(own):
    "Loading the library takes longer than anything else that a short command does."
    process = start("-c", "from collapse_nb.cli import main; print('here', flush=True); main()", "runs",
                    cwd=own)
    assert process.stdout.readline() == "here\n"
    time.sleep(.3)
    assert interrupted(process) == STOPPED


def test_usage_errors_and_help(own):
    for words, message in {"fit synthetic --scale two": "was given --scale two: give a whole number",
                           "fitt": "there is no command 'fitt': did you mean fit?",
                           "fit synthetic --scael 2": "fit has no option --scael: did you mean --scale?",
                           "encode": "encode needs CARD, which is missing",
                           "encode own.toml": "Missing option"}.items():
        done = collapse(own, *words.split())
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert done.stderr.startswith("collapse: ") and done.stderr.count("\n") == 1, "one line"
    done = collapse(own, "--help")
    assert done.returncode == 0 and "encode" in done.stdout


BAD_COMMANDS = {
    "unknown card": (("fit", "hflight"), "did you mean 'hflights'?"),
    "unknown model": (("fit", "synthetic", "--model", "DCN"), "unknown model 'DCN'"),
    "scale 0": (("fit", "synthetic", "--scale", 0), "give at least 1"),
    "no such device": (("fit", "synthetic", "--device", "gpu"), "choose auto, cpu, cuda"),
    "store is a file": (("runs", "own.csv"), "is a file"),
    "no runs": (("runs", "nowhere"), "there are no runs"),
    "missing source": (("encode", "own.toml", "--source", "nowhere.csv", "--out", "enc"), "there is no file"),
    "short row": (("encode", "own.toml", "--source", "short.csv", "--out", "enc"), "line 3"),
    "cut gzip": (("encode", "own.toml", "--source", "cut.csv.gz", "--out", "enc"), "cut off or damaged"),
    "constant label": (("encode", "own.toml", "--source", "constant.csv", "--out", "enc"), "label"),
    "an empty folder": (("encode", "own.toml", "--source", "empty", "--out", "enc"), "holds no files"),
    "zip": (("encode", "own.toml", "--source", "zip.csv", "--out", "enc"), "is a zip archive"),
    "no run's folder": (("export", ".", "--onnx", "x.onnx"), "is not a run's folder"),
    "seeds 0": (("fit", "synthetic", "--seeds", 0), "train at least one"),
    "a name too long": (("encode", "own.toml", "--source", "own.csv", "--out", "x" * 300),
                        "File name too long"),
    "unwritable": (("encode", "own.toml", "--source", "own.csv", "--out", "own.csv/enc"), "cannot write"),
}


@pytest.mark.parametrize("words,message", BAD_COMMANDS.values(), ids=BAD_COMMANDS)
def test_collapse_refuses_in_one_sentence(own, words, message):
    (own / "empty").mkdir()
    (own / "short.csv").write_text("day,item,bought\n1,2,0\n1,2\n3,4,1\n")
    (own / "zip.csv").write_bytes(b"PK\3\4" + bytes(99))
    (own / "cut.csv.gz").write_bytes(gzip.compress(TABLE.encode())[:-20])
    (own / "constant.csv").write_text("day,item,bought\n" + "1,2,0\n" * 50)
    done = collapse(own, *words)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.startswith("collapse: ") and "Traceback" not in done.stderr
    assert not (own / "enc").exists() and not list(own.glob(".*tmp"))
