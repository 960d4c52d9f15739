"`Monitor`: what it writes while a model trains, and that nothing that it writes to can stop the training."
import csv
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from collapse_nb import monitor as module
from collapse_nb.abundance import measures
from collapse_nb.monitor import MEASURES, Monitor, embedding_tables
from collapse_nb.records import InputError


def read(path) -> list[dict]:
    with path.open(newline="") as file: return list(csv.DictReader(file))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.item, self.user = nn.Embedding(40, 4), nn.EmbeddingBag(30, 4, mode="sum")
        self.first_order, self.top = nn.Embedding(40, 1), nn.Linear(8, 1)
    def forward(self, ids):
        return self.top(torch.cat([self.item(ids), self.user(ids[:, None] % 30)], 1)) + self.first_order(ids)


def train(model, monitor, steps=6):
    optimiser = torch.optim.SGD(model.parameters(), lr=.1)
    for i in range(steps):
        optimiser.zero_grad()
        model(torch.arange(i, i + 8)).square().mean().backward()
        optimiser.step()
        monitor.step()


def test_numbers_are_those_of_the_tables_at_that_step(tmp_path):
    torch.manual_seed(0)
    model, seen = Model(), []
    monitor = Monitor(model, every=3, path=tmp_path / "m.csv", to=["csv"])
    optimiser = torch.optim.SGD(model.parameters(), lr=.5)
    for step in range(1, 8):
        optimiser.zero_grad()
        model(torch.arange(8)).square().mean().backward()
        optimiser.step()
        monitor.step()
        if step in (3, 6, 7): seen.append({name: table.detach().clone()
                                           for name, table in embedding_tables(model).items()})
    monitor.close()
    rows = read(tmp_path / "m.csv")
    assert [(row["step"], row["table"]) for row in rows] == [
        (step, table) for step in "367" for table in ("item", "user")]
    for row, (tables, name) in zip(rows, [(t, n) for t in seen for n in t], strict=True):
        expected = measures(tables[name])
        for measure in MEASURES:
            assert float(row[measure]) == pytest.approx(expected[measure].item(), rel=1e-5)
        assert (row["rows"], row["width"], row["status"]) == (str(len(tables[name])), "4", "measured")


def test_training_is_the_same_with_and_without(tmp_path):
    def trained(watched):
        torch.manual_seed(1)
        model = Model()
        monitor = Monitor(model, every=2, path=tmp_path / "m.csv", to="csv") if watched else None
        train(model, monitor) if watched else train(model, type("Nothing", (), {"step": lambda self: None})())
        return model.state_dict()
    for with_it, without in zip(trained(True).values(), trained(False).values(), strict=True):
        assert torch.equal(with_it, without)


def test_rows_are_there_when_the_process_dies(tmp_path):
    path = tmp_path / "m.csv"
    first = Monitor(Model(), every=1, path=path, to="csv")
    first.step() # never closed
    assert len(read(path)) == 2
    with path.open("a") as file: file.write("2026-01-01,7,it") # a row that was cut
    second = Monitor(Model(), every=1, path=path, to="csv")
    second.step(8)
    second.close()
    whole = [row for row in read(path) if row["status"]]
    assert [row["step"] for row in whole] == ["1", "1", "8", "8"]


def test_diverged_and_strange_tables(tmp_path):
    tables = {"nan": torch.full((3, 2), torch.nan), "zero": torch.zeros(3, 2), "empty": torch.zeros(0, 2),
              "vector": torch.ones(3), "number": torch.tensor(1.), "half": torch.eye(3).half(),
              "bfloat16": torch.eye(3).bfloat16(), "one row": torch.ones(1, 3)}
    monitor = Monitor(tables, every=1, path=tmp_path / "m.csv", to="csv")
    monitor.step()
    monitor.close()
    rows = {row["table"]: row for row in read(tmp_path / "m.csv")}
    assert [row["status"] for row in rows.values()] == [
        "not finite", "zero", "empty", "no matrix", "no matrix", "measured", "measured", "measured"]
    assert rows["half"]["ia"] == rows["bfloat16"]["ia"] == "3.0" and rows["nan"]["ia"] == "nan"
    assert float(rows["one row"]["ia"]) == pytest.approx(1)


class _Down:
    "A tracker whose server is away."
    def __init__(self, path): self.calls = 0
    def write(self, rows): raise ConnectionError("no route to host")
    def close(self): raise AssertionError("it was given up")


def test_a_tracker_that_is_down_never_stops_training(tmp_path, monkeypatch):
    monkeypatch.setitem(module.TRACKERS, "mlflow", _Down)
    model = Model()
    monitor = Monitor(model, every=1, path=tmp_path / "m.csv", to=["csv", "mlflow"])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        train(model, monitor)
        monitor.close()
    assert [str(w.message) for w in said if "mlflow" in str(w.message)] == [
        "mlflow takes no measurements any more (ConnectionError: no route to host): training goes on "
        "without it."]
    assert len(read(tmp_path / "m.csv")) == 12


def test_a_tracker_that_cannot_start(tmp_path, monkeypatch):
    class Refuses(_Down):
        def __init__(self, path): raise OSError("disk full")
    monkeypatch.setitem(module.TRACKERS, "tensorboard", Refuses)
    with pytest.warns(UserWarning, match="tensorboard takes no measurements.*disk full"):
        monitor = Monitor(Model(), every=1, path=tmp_path / "m.csv", to=["csv", "tensorboard"])
    monitor.step()
    monitor.close()
    assert len(read(tmp_path / "m.csv")) == 2


def test_what_is_not_installed(tmp_path, monkeypatch):
    class Absent(_Down):
        def __init__(self, path): raise ImportError("No module named 'mlflow'")
    monkeypatch.setitem(module.TRACKERS, "mlflow", Absent)
    monkeypatch.setitem(module.TRACKERS, "tensorboard", Absent)
    with pytest.raises(InputError, match="mlflow is not installed"):
        Monitor(Model(), path=tmp_path / "n.csv", to=["mlflow"])


def test_bad_input(tmp_path):
    for wrong in (0, -1, 1.5, True, "3"):
        with pytest.raises(InputError, match="steps between measurements"): Monitor(Model(), every=wrong)
    with pytest.raises(InputError, match="unknown tracker 'wandb'"): Monitor(Model(), to="wandb")
    with pytest.raises(InputError, match="no embedding table"): Monitor(nn.Linear(3, 3))
    (tmp_path / "t.csv").write_text("x\n")
    with pytest.raises(InputError, match="other columns"): Monitor(Model(), path=tmp_path / "t.csv", to="csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        Monitor(Model(), path=tmp_path / "folder.csv", to="csv")


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    monitor = Monitor({"item": torch.eye(4)}, every=2, path=tmp_path / "m.csv", to=["csv", "tensorboard"])
    for _ in range(4):
        monitor.step()
        for sent in monitor.sent.values(): sent.result()
    monitor.close()
    events = EventAccumulator(str(tmp_path / "m" / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("ia/item")] == [(2, 4.), (4, 4.)]


# MLflow uses what SQLAlchemy 2.1 wants replaced
@pytest.mark.filterwarnings("default::DeprecationWarning", "default::ResourceWarning")
def test_mlflow(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/runs.db")
    with mlflow.start_run() as run:
        monitor = Monitor({"a[0]": torch.eye(4), "nan": torch.full((2, 2), math.nan)}, every=1,
                          path=tmp_path / "m.csv", to=["csv", "mlflow"])
        monitor.step()
        monitor.close()
    found = mlflow.get_run(run.info.run_id).data.metrics
    assert found["ia/a_0_"] == 4 and not any("nan" in name for name in found)


def test_lightning(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")
    assert issubclass(Monitor, lightning.Callback)
    class Task(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = Model()
        def training_step(self, batch, _): return self.model(batch[0]).square().mean()
        def configure_optimizers(self): return torch.optim.SGD(self.parameters(), lr=.1)
    task = Task()
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.arange(40)), batch_size=8)
    monitor = Monitor(task, every=2, path=tmp_path / "m.csv", to="csv")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(max_epochs=3, callbacks=[monitor], logger=False, accelerator="cpu",
                                    enable_checkpointing=False, enable_progress_bar=False,
                                    enable_model_summary=False, default_root_dir=tmp_path)
        trainer.fit(task, data)
    rows = read(tmp_path / "m.csv")
    assert [int(row["step"]) for row in rows if row["table"] == "model.item"] == [2, 4, 6, 8, 10, 12, 14, 15]
    last = measures(task.model.item.weight)
    assert float(rows[-2]["ia"]) == pytest.approx(last["ia"].item(), rel=1e-6)
    assert not np.isnan(float(rows[0]["ia"]))
