"""Keras on jax: one model saved as `.keras`, `.weights.h5` and `.h5`.

Layers have names that their files number away: `layers/embedding_1` is whichever came second in the graph.
`item_emb` serves two inputs, the table `users` does not say that it is one, `user_weight` is first-order, and
the optimiser has the tables' shapes twice. Which dataset is which layer's is told by its numbers."""
import io
import os
import zipfile

os.environ["KERAS_BACKEND"] = "jax"

import h5py
import keras
import numpy as np
from common import ITEMS, UNSEEN, USERS, arguments, clicks, expect, role, table
from keras import layers


def model() -> keras.Model:
    user, item, last = (keras.Input((), dtype="int32", name=name) for name in ("user", "item", "last_item"))
    item_emb = layers.Embedding(ITEMS, 8, name="item_emb")
    vectors = [item_emb(item), item_emb(last), layers.Embedding(USERS, 8, name="users")(user)]
    hidden = layers.Dense(8, "relu", name="hidden")(layers.Concatenate()(vectors))
    logit = layers.Add()([layers.Dense(1, name="top")(hidden),
                          layers.Embedding(USERS, 1, name="user_weight")(user)])
    return keras.Model([user, item, last], keras.ops.sigmoid(logit))


def datasets(source) -> dict[str, np.ndarray]:
    "All numbers of an HDF5 file."
    found = {}
    def keep(key, node):
        if isinstance(node, h5py.Dataset): found[key] = node[()]
    with h5py.File(source) as file: file.visititems(keep)
    return found


def main() -> None:
    kept, _ = arguments()
    keras.utils.set_random_seed(1)
    rows, net = clicks(), model()
    net.compile(keras.optimizers.Adam(.01), "binary_crossentropy")
    net.fit([rows[name] for name in ("user", "item", "last_item")], rows["label"], batch_size=64, epochs=3,
            verbose=0)
    net.save(kept / "model.keras")
    net.save_weights(kept / "model.weights.h5")
    net.save(kept / "model.h5")
    files = {}
    for file in ("model.keras", "model.weights.h5", "model.h5"):
        source = kept / file
        if source.suffix == ".keras":
            source = io.BytesIO(zipfile.ZipFile(source).read("model.weights.h5"))
        tables, others = {}, {}
        for key, numbers in datasets(source).items():
            if "optimizer" in key: continue
            layer = next(layer for layer in net.layers for weight in layer.weights
                         if weight.shape == numbers.shape and (np.asarray(weight) == numbers).all())
            if not isinstance(layer, layers.Embedding): others[key] = role(key, numbers)
            elif layer.output_dim == 1: others[key] = "first-order weights"
            else:
                side = "item" if layer.name == "item_emb" else "user"
                tables[key] = table(layer.name, numbers, never_trained=UNSEEN[side])
        assert len(tables) == 2 and len(others) == 5
        files[file] = {"package": "Keras", "tables": tables, "others": others}
    expect(kept, files)


if __name__ == "__main__": main()
