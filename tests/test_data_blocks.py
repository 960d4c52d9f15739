"""Encoding over several blocks and buckets equals counting the whole table at once; cards are found wherever
the library lies."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import collapse_nb
from collapse_nb.data.cards import Card
from collapse_nb.data.encode import encode
from collapse_nb.data.sources.parquet import BLOCK_ROWS
from collapse_nb.data.sources.text import BLOCK_BYTES

NAMES = ["site", "user"]


def expected(table: pd.DataFrame, min_count: int, seed: int) -> tuple[list[int], np.ndarray, np.ndarray]:
    "The encoding rule on a whole table, by pandas."
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed)).numpy()
    columns, cardinalities = [], []
    for name in NAMES:
        counts = table[name].value_counts().rename_axis("value").reset_index(name="count")
        kept = counts[counts["count"] >= min_count].sort_values(["count", "value"],
                                                                ascending=[False, True])["value"].tolist()
        ids = {value: i for i, value in enumerate(kept)}
        columns.append(table[name].map(ids).fillna(len(kept)).to_numpy().astype(np.int64))
        cardinalities.append(len(kept) + 1)
    return cardinalities, np.column_stack(columns)[order], table["y"].to_numpy()[order]


def test_many_blocks(tmp_path):
    rng, rows = np.random.default_rng(0), 5 * BLOCK_ROWS + 17
    table = pd.DataFrame({
        "y": rng.integers(0, 2, rows),
        "site": [f"s{v}" for v in rng.zipf(1.3, rows) % 100_000],
        "user": [f"a-user-with-a-rather-long-name-{v}" for v in rng.zipf(1.1, rows) % 300_000]})
    table.to_csv(tmp_path / "t.csv", index=False)
    # several blocks of text, several of rows, several buckets
    assert (tmp_path / "t.csv").stat().st_size > BLOCK_BYTES
    data = encode(Card(name="t", label="y", fields=NAMES, min_count=2, split_seed=3), tmp_path / "t.csv",
                  tmp_path / "out")
    cardinalities, x, y = expected(table, 2, 3)
    assert data.schema.cardinalities == tuple(cardinalities)
    assert np.array_equal(np.load(tmp_path / "out" / "x.npy"), x)
    assert np.array_equal(np.load(tmp_path / "out" / "y.npy"), y)
    assert sorted(os.listdir(tmp_path / "out")) == ["schema.json", "vocabulary.parquet", "x.npy", "y.npy"]


def test_cards_of_an_installed_package(tmp_path):
    "In a wheel the cards lie inside the package, as collapse_nb/cards, and there is no data/ beside it."
    package = Path(collapse_nb.__file__).parent
    shutil.copytree(package, tmp_path / "collapse_nb")
    if not (tmp_path / "collapse_nb" / "cards").exists():
        shutil.copytree(package.parent / "data", tmp_path / "collapse_nb" / "cards")
    call = ("from collapse_nb.data import cards; print(cards.collapse_nb.__file__, "
            "cards.load_card('criteo').min_count)")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    printed = subprocess.run([sys.executable, "-c", call], cwd=tmp_path, env=environment, capture_output=True,
                             text=True, check=True).stdout
    assert printed.split() == [str(tmp_path / "collapse_nb" / "__init__.py"), "10"]
