"""Views of a store in real trackers: what arrives, made twice, killed, and a tracker that is down."""
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from collapse_nb.data.dataset import checksum
from collapse_nb.nn.zoo import ModelSpec
from collapse_nb.records import InputError
from collapse_nb.trackers import LONGEST, export, mirrored, runs_of
from collapse_nb.train.recipe import Recipe
from collapse_nb.train.runs import SUMS, Group, StoredRuns

ROOT = Path(__file__).resolve().parents[1]
# what trackers say of the libraries under them is no matter of ours
pytestmark = [pytest.mark.filterwarnings(f"default::{kind}")
              for kind in ("DeprecationWarning", "ResourceWarning",
                           "pytest.PytestUnraisableExceptionWarning")]
LONG = "x" * (LONGEST + 1)


def group_of(*seeds: int) -> Group:
    return Group(dataset="toy", fingerprint="0f", spec=ModelSpec("DNN", hidden=8), seeds=seeds,
                 recipe=Recipe(max_epochs=3), treatment="")


def file_group(store: Path, group: Group, losses=(.7, .6, .5), note: str = "", test_auc: float = .75) -> Path:
    "A finished group without a training: the files that one leaves, with losses and a note of one's own."
    folder = store / group.id
    folder.mkdir(parents=True)
    epochs = range(1, len(losses) + 1)
    rows = [{"group": group.id, "dataset": "toy", "fingerprint": "0f", **group.spec.model_dump(),
             "treatment": "", "seed": seed, "status": "done", "note": note, "epochs": len(losses),
             "best_epoch": 1, "valid_auc": .7, "test_auc": test_auc, "test_logloss_nats": .6, "fit_s": 1.,
             "rows_per_s": 5., "peak_bytes": 0, "train_rows": 10} for seed in group.seeds]
    history = [{"replica": r, "seed": seed, "epoch": epoch, "train_loss_nats": loss,
                "valid_auc": .5 + epoch / 10, "train_s": .5}
               for r, seed in enumerate(group.seeds) for epoch, loss in zip(epochs, losses, strict=True)]
    (folder / "group.json").write_text(group.model_dump_json())
    (folder / "runs.json").write_text(json.dumps(rows))
    pd.DataFrame(history[::-1]).to_csv(folder / "history.csv", index=False) # out of order
    (folder / "schema.json").write_text('{"names": ["a(b)", "a[b]"], "cardinalities": [3, 4]}')
    np.save(folder / "abundance.npy", np.ones((len(losses), len(group.seeds), 1, 2), "f"))
    np.save(folder / "test_logits.npy", np.zeros((len(group.seeds), 5), "e"))
    (folder / SUMS).write_text(json.dumps({f.name: checksum(f) for f in sorted(folder.iterdir())}))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> StoredRuns:
    "Two runs, of which the losses are not all numbers; a parameter is long."
    file_group(tmp_path / "mine", group_of(0, 1), (.7, math.nan, math.inf), LONG)
    return StoredRuns(tmp_path / "mine")


def damage(file: Path) -> None:
    "Another loss in the first epoch, and the checksums of that."
    file.write_text(file.read_text().replace("0.7", "0.71"))
    sums = json.loads((file.parent / SUMS).read_text())
    (file.parent / SUMS).write_text(json.dumps(sums | {file.name: checksum(file)}))


class MLflow:
    name = "mlflow"
    def __init__(self, store: StoredRuns):
        from mlflow import MlflowClient
        self.client = MlflowClient(f"sqlite:///{store.path.absolute()}/.views/mlflow.db")
    def runs(self) -> list:
        experiment = self.client.get_experiment_by_name("mine")
        return sorted(self.client.search_runs([experiment.experiment_id]),
                      key=lambda r: r.data.tags.get("run", ""))
    def curve(self, seed: int, name: str) -> list:
        run = self.runs()[seed].info.run_id
        return [(point.step, point.value) for point in self.client.get_metric_history(run, name)]
    def titles(self) -> list: return [run.info.run_name for run in self.runs()]


class TensorBoard:
    name = "tensorboard"
    def __init__(self, store: StoredRuns): self.folder = store.path / ".views/tensorboard/mine"
    def events(self, seed: int):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        events = EventAccumulator(str(sorted(self.folder.iterdir())[seed]))
        events.Reload()
        return events
    def curve(self, seed: int, name: str) -> list:
        return [(e.step, e.value) for e in self.events(seed).Scalars(name)]
    def titles(self) -> list:
        return [self.text(seed, "title") for seed in range(len(list(self.folder.iterdir())))]
    def text(self, seed: int, name: str) -> str:
        found, = self.events(seed).Tensors(f"{name}/text_summary")
        return found.tensor_proto.string_val[0].decode()


class Trackio:
    name, folder = "trackio", tempfile.mkdtemp() # it knows one folder a process
    def __init__(self, store: StoredRuns):
        import trackio
        storage, project = trackio.SQLiteStorage, store.path.parent.name
        self.found = [(storage.get_run_config(project, key), storage.get_logs(project, key))
                      for key in sorted(storage.get_runs(project))]
    def curve(self, seed: int, name: str) -> list:
        return [(log["step"], log[name]) for log in self.found[seed][1] if name in log]
    def titles(self) -> list: return [config["title"] for config, _ in self.found]


def where(view, store: StoredRuns) -> tuple[str, str]:
    "Address and name, where they are not left out."
    return (view.folder, store.path.parent.name) if view is Trackio else ("", "")


def collapse(*words: object) -> subprocess.Popen:
    "The command in a process of its own, with this repository's library."
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", "from collapse_nb.cli import main; main()", *map(str, words)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


VIEWS = {view.name: view for view in (MLflow, TensorBoard, Trackio)}


@pytest.fixture(params=VIEWS)
def view(request):
    "A tracker that is installed."
    for package in {"mlflow": ["mlflow", "sqlalchemy", "alembic"]}.get(request.param, [request.param]):
        if find_spec(package) is None: pytest.skip(f"{package} is not installed")
    return VIEWS[request.param]


def made(view, store: StoredRuns):
    "How many runs were written, and the view."
    return export(store, view.name, *where(view, store)), view(store)


def near(curve: list, *points: tuple) -> bool:
    return np.allclose(curve, points, rtol=1e-6, equal_nan=True)


def test_made_twice_it_is_the_same_and_changed_files_are_sent_again(view, store):
    for written in (2, 0):
        count, there = made(view, store)
        assert count == written
        assert there.titles() == ["DNN SE 1x seed 0", "DNN SE 1x seed 1"]
        assert near(there.curve(1, "valid_auc"), (1, .6), (2, .7), (3, .8)), "in order"
        assert near(there.curve(1, "test_auc"), (3, .75))
    if view is MLflow: bent_by_mlflow(there, store)
    else:
        assert near(there.curve(0, "train_loss_nats"), (1, .7), (2, math.nan), (3, math.inf))
        assert near(there.curve(0, "ia_a(b)"), (1, 1), (2, 1), (3, 1))
        assert LONG == (there.text(0, "note") if view is TensorBoard else there.found[0][0]["note"])
    damage(store.folders()[0] / "history.csv")
    count, there = made(view, store)
    assert count == 2 and len(there.titles()) == 2
    assert near(there.curve(0, "train_loss_nats")[:1], (1, .71))


def test_a_run_of_another_store_is_not_replaced(view, store, tmp_path):
    "Two stores of one name in one tracker: equal bits are the same run; others are refused, the first stays."
    shared = {"mlflow": f"sqlite:///{tmp_path}/both.db", "tensorboard": str(tmp_path / "both")}
    address, name = where(view, store)
    address = shared.get(view.name, address)
    assert export(store, view.name, address, name) == 2
    other = StoredRuns(tmp_path / "elsewhere" / "mine")
    shutil.copytree(store.path, other.path, ignore=shutil.ignore_patterns(".views"))
    assert export(other, view.name, address, name) == 0
    damage(other.folders()[0] / "history.csv")
    with pytest.raises(InputError, match=r"DNN SE 1x seed 0 .* would be lost: give another --name"):
        export(other, view.name, address, name)
    assert export(store, view.name, address, name) == 0
    assert export(other, view.name, address, f"{name or 'mine'}-elsewhere") == 2


def bent_by_mlflow(there: MLflow, store: StoredRuns) -> None:
    "What MLflow would bend is said in words."
    run = there.runs()[0].data
    assert near(there.curve(0, "train_loss_nats"), (1, .7))
    assert run.tags["not finite"] == "train_loss_nats is nan at epoch 2; train_loss_nats is inf at epoch 3"
    assert run.params["note"] == f"6,001 characters, which MLflow would cut: note in {store.folders()[0]}"
    assert run.tags["renamed"] == "ia_a(b) is ia_a_b_; ia_a[b] is ia_a_b__2" and run.metrics["ia_a_b__2"] == 1


def test_what_a_killed_export_left_is_made_whole(view, tmp_path):
    "Killed at some instant, then made again: each run once, and whole."
    store = StoredRuns(tmp_path / "mine")
    for seed in range(20): file_group(store.path, group_of(seed))
    address, name = where(view, store)
    process = collapse("runs", "export", store.path, "--to", view.name, "--address", address, "--name", name)
    begun = time.monotonic()
    while process.poll() is None and time.monotonic() - begun < 60:
        files = [*store.path.glob(".views/**/*"), *Path(Trackio.folder).glob(f"{name}.*")]
        if any(f.is_file() for f in files): break
        time.sleep(.01)
    time.sleep(.4)
    process.send_signal(signal.SIGKILL)
    with process: process.wait()
    there = made(view, store)[1]
    assert sorted(there.titles()) == sorted(f"DNN SE 1x seed {seed}" for seed in range(20))
    assert all(len(there.curve(run, "valid_auc")) == 3 for run in range(20))


def test_a_view_is_disposable(store):
    assert export(store, "parquet") == 2
    before = pd.read_parquet(store.path / ".views/parquet/epochs.parquet")
    assert np.isnan(before.train_loss_nats[1]) and before.train_loss_nats[2] == math.inf
    shutil.rmtree(store.path / ".views")
    assert export(store, "parquet") == 2 and len(store.groups()) == 1
    pd.testing.assert_frame_equal(pd.read_parquet(store.path / ".views/parquet/epochs.parquet"), before)


def test_addresses_that_are_none(store):
    "A sentence each, at once."
    pytest.importorskip("alembic")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    (store.path / "file").touch()
    for address in (nobody, f"sqlite:///{store.path}/file/runs.db", "nosuch://runs"):
        begun = time.monotonic()
        with pytest.raises(InputError, match=f"mlflow does not take the runs at {address}"):
            export(store, "mlflow", address)
        assert time.monotonic() - begun < 60


def test_a_server_that_never_answers_does_not_slow_what_is_mirrored(store, capfd):
    "The one who fills the store waits for nobody, and at the end for as long as it allows."
    pytest.importorskip("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        with mirrored(store, "mlflow", address, every=.1, patience=1):
            within = time.monotonic() - begun
            time.sleep(2) # it has connected, and waits
        taken = time.monotonic() - begun
    assert within < 1 and taken < 6
    assert f"collapse runs export {store.path} --to mlflow sends the rest" in capfd.readouterr().err


def test_a_mirror_takes_what_is_filed_and_ends(store):
    pytest.importorskip("tensorboard")
    with mirrored(store, "tensorboard", every=.1): file_group(store.path, group_of(2))
    assert sorted(TensorBoard(store).titles()) == [f"DNN SE 1x seed {seed}" for seed in range(3)]


def test_versions_are_of_the_files(store):
    before = runs_of(store.folders()[0])
    damage(store.folders()[0] / "history.csv")
    assert {run.version for run in before}.isdisjoint(run.version for run in runs_of(store.folders()[0]))


def test_tables_of_another_store_are_not_written_over(store, tmp_path):
    "At one address: the first stays as it was, also where the other has the same runs."
    file_group(tmp_path / "other", group_of(0, 1), (.4, .3, .2))
    place = tmp_path / "tables"
    assert [export(store, "parquet", str(place)) for _ in range(2)] == [2, 2]
    before = {file: file.read_bytes() for file in place.iterdir()}
    with pytest.raises(InputError, match=r"runs\.parquet is there and was not made from the runs in .*other"):
        export(StoredRuns(tmp_path / "other"), "parquet", str(place))
    (place / "runs.parquet").unlink()
    pd.DataFrame({"mine": [1]}).to_parquet(place / "runs.parquet")
    with pytest.raises(InputError, match=r"runs\.parquet is there"): export(store, "parquet", str(place))
    before[place / "runs.parquet"] = (place / "runs.parquet").read_bytes()
    assert {file: file.read_bytes() for file in place.iterdir()} == before


def test_an_export_that_fails_leaves_no_folder(tmp_path):
    "A group whose files cannot be read, and a store without one."
    (file_group(tmp_path / "mine", group_of(0)) / "history.csv").unlink()
    for to in ("parquet", *(["tensorboard"] if find_spec("tensorboard") else [])):
        with pytest.raises(InputError): export(StoredRuns(tmp_path / "mine"), to, str(tmp_path / "tables"))
        assert export(StoredRuns(tmp_path / "nowhere"), to, str(tmp_path / "tables")) == 0
        assert not (tmp_path / "tables").exists() and not (tmp_path / "mine/.views").exists()
