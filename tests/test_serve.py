"""An exported model, run by onnxruntime alone, is the model in evaluation mode: all eight, both designs and
variants, R = 1 and 3."""
import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from collapse_nb.fields import FieldSchema
from collapse_nb.nn.zoo import BASE_DIM, MULTI, Model, ModelSpec, build
from collapse_nb.records import InputError
from collapse_nb.serve import export_onnx

SCHEMA = FieldSchema(["a", "b", "c", "d"], [5, 1, 70, 3])
SEVERAL = FieldSchema(["a", "b", "c", "d"], [5, 1, 70, 3], [1, 1, 4, 2]) # rows have several values of c and d
CELLS = [(m, d, v, r) for m in BASE_DIM for d in ("SE", "ME") if d == "SE" or m in MULTI
         for v, r in product(("paper", "released"), (1, 3))]


def ids(rows: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.stack([torch.randint(d, (rows,), generator=generator) for d in SCHEMA.cardinalities], 1)

def several_ids(rows: int) -> torch.Tensor:
    "Between one and all values in the fields that have several, then padding."
    generator, columns = torch.Generator().manual_seed(8), []
    for size, width in zip(SEVERAL.cardinalities, SEVERAL.widths, strict=True):
        x, values = torch.randint(size, (rows, width),
                                  generator=generator), torch.randint(1, width + 1, (rows, 1),
                                                                      generator=generator)
        columns.append(torch.where(torch.arange(width) < values, x, size))
    return torch.cat(columns, 1)

def trained(name: str, design: str = "SE", variant: str = "paper", replicas: int = 1,
            schema: FieldSchema = SCHEMA, **more) -> Model:
    """Weights and running statistics moved away from where they start, by as much as keeps logits of a few
    units; left in training mode."""
    spec = ModelSpec(name, design, 2, variant, **{"hidden": 40, "dropout": .3} | more)
    model = build(spec, schema, replicas)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for key, t in model.state_dict().items():
            noise = torch.randn(t.shape, generator=generator)
            if "running_var" in key: t.copy_(torch.exp(.3 * noise))
            else: t.add_(noise * (.3 if t.dim() < 3 else t.shape[-1] ** -.5))
    return model

def session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4 # refusals are raised, and need not be printed
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: "-".join(map(str, c)))
def test_onnxruntime_computes_what_the_model_does(tmp_path, cell):
    model, file = trained(*cell), tmp_path / "model.onnx"
    before = {n: t.clone() for n, t in model.state_dict().items()}
    export_onnx(model, file, "clicks")
    assert model.training and all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    onnx.checker.check_model(onnx.load(file), full_check=True)
    run = session(file)
    for rows in (1, 2, 7, 300): # none of them is in the file
        x = ids(rows)
        with torch.no_grad(): expected = model.eval()(x)
        logits, score = map(torch.from_numpy, run.run(["logits", "score"], {"ids": x.numpy()}))
        assert (logits.dtype, logits.shape, score.shape) == (torch.float32, expected.shape, (rows,))
        torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(score, expected.sigmoid().mean(0), rtol=0, atol=1e-5)
    assert .05 < expected.std() < 100 # rows differ by thousands of times the tolerance
    assert run.run(["score"], {"ids": ids(0).numpy()})[0].shape == (0,)


@pytest.mark.parametrize("cell", [c for c in CELLS if c[2:] == ("paper", 3)],
                         ids=lambda c: "-".join(map(str, c)))
def test_rows_with_several_values(tmp_path, cell):
    """Means over a row's values are the model's; an id is refused in every column, and padding where a value
    must be."""
    model, file, x = trained(*cell, schema=SEVERAL), tmp_path / "model.onnx", several_ids(200)
    export_onnx(model, file)
    run = session(file)
    with torch.no_grad(): expected = model.eval()(x)
    torch.testing.assert_close(torch.from_numpy(run.run(["logits"], {"ids": x.numpy()})[0]), expected,
                               rtol=1e-5, atol=1e-5)
    for column, field in enumerate(SEVERAL.column_fields):
        size, first = SEVERAL.cardinalities[field], column in SEVERAL.columns
        for wrong in (-1, size + 1, 2**40, *[size] * first):
            bad = x.clone()
            bad[4, column] = wrong
            with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument,
                               match="out of data bounds"):
                run.run(None, {"ids": bad.numpy()})


@pytest.mark.parametrize("model", BASE_DIM)
def test_wrong_ids_are_refused_in_every_field(tmp_path, model):
    "Also by a runtime that rewrites the graph as far as it can, and by one that takes it as it is."
    export_onnx(trained(model), tmp_path / "model.onnx")
    for level in ("ORT_ENABLE_ALL", "ORT_DISABLE_ALL"):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        run = onnxruntime.InferenceSession(tmp_path / "model.onnx", options,
                                           providers=["CPUExecutionProvider"])
        for field, size in enumerate(SCHEMA.cardinalities):
            for wrong in (-1, -size, size, size + 1, SCHEMA.num_rows, -SCHEMA.num_rows - 1, 2**31, 2**32 + 1,
                          2**63 - 1, -2**63):
                x = ids(9).numpy()
                x[4, field] = wrong
                with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument,
                                   match="out of data bounds"):
                    run.run(None, {"ids": x})


def test_other_shapes_and_types_are_refused(tmp_path):
    export_onnx(trained("DNN"), tmp_path / "model.onnx")
    run = session(tmp_path / "model.onnx")
    for x in (ids(3)[:, :3], ids(3).int(), ids(3).float(), ids(3)[0]):
        with pytest.raises(Exception, match="INVALID_ARGUMENT"):
            run.run(None, {"ids": np.ascontiguousarray(x)})


def test_what_a_file_says_of_itself(tmp_path):
    model = trained("FinalMLP", "ME", "released", 3)
    export_onnx(model, tmp_path / "model.onnx", "Über 'clicks'")
    notes = {p.key: p.value for p in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert FieldSchema(json.loads(notes["names"]), json.loads(notes["cardinalities"])) == SCHEMA
    assert ModelSpec(**json.loads(notes["spec"])) == model.spec
    assert (notes["dataset"], json.loads(notes["seeds"])) == ("Über 'clicks'", [0, 1, 2])
    export_onnx(model, tmp_path / "again.onnx", "Über 'clicks'")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()


def test_a_full_disk_leaves_nothing(small_disk):
    with pytest.raises(InputError, match="is full"):
        export_onnx(trained("DNN", hidden=400), small_disk / "model.onnx")
    assert list(small_disk.iterdir()) == []


def test_without_onnx_the_extra_is_named(tmp_path):
    code = ("import sys; sys.modules['onnx'] = sys.modules['onnxruntime'] = None; from collapse_nb.serve "
            "import export_onnx; from collapse_nb.nn.zoo import *; from collapse_nb.fields import "
            "FieldSchema; export_onnx(build(ModelSpec('FM'), FieldSchema('ab', (2, 2))), 'model.onnx')")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert ("InputError" in done.stderr and "pip install 'collapse_nb[export]'" in done.stderr
            and list(tmp_path.iterdir()) == [])
