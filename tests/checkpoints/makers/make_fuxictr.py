"""FuxiCTR: DCNv2 and DeepFM out of the package's own layers, trained and saved by its `BaseModel.fit`.

`last_item` shares item's table, `price` is numeric, cities are missing (they train the row for unknown ids),
and users are dropped below two hits (so that theirs is trained, too). The models themselves are scripts in
FuxiCTR's repository, not in its wheel: these are put together as those are."""
import os

import numpy as np
import polars as pl
import torch
from common import arguments, clicks, expect, role, table
from fuxictr.preprocess import FeatureProcessor
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.layers import CrossNetV2, FactorizationMachine, FeatureEmbedding, MLP_Block
from fuxictr.pytorch.models import BaseModel
from fuxictr.pytorch.torch_utils import seed_everything

EMBEDDINGS = "embedding_layer.embedding_layer.embedding_layers"
FIRST = f"fm.lr_layer.{EMBEDDINGS}"


class DCNv2(BaseModel):
    def __init__(self, feature_map, embedding_dim, **more):
        super().__init__(feature_map, model_id="DCNv2", **more)
        self.embedding_layer = FeatureEmbedding(feature_map, embedding_dim)
        width = feature_map.sum_emb_out_dim()
        self.crossnet = CrossNetV2(width, 2)
        self.parallel_dnn = MLP_Block(width, [8], batch_norm=True)
        self.fc = torch.nn.Linear(width + 8, 1)
        self.compile("adam", "binary_crossentropy", .02)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs):
        x = self.embedding_layer(self.get_inputs(inputs), flatten_emb=True)
        return {"y_pred": self.output_activation(self.fc(torch.cat([self.crossnet(x),
                                                                    self.parallel_dnn(x)], -1)))}


class DeepFM(BaseModel):
    def __init__(self, feature_map, embedding_dim, **more):
        super().__init__(feature_map, model_id="DeepFM", **more)
        self.embedding_layer = FeatureEmbedding(feature_map, embedding_dim)
        self.fm = FactorizationMachine(feature_map)
        self.mlp = MLP_Block(feature_map.sum_emb_out_dim(), [8], output_dim=1)
        self.compile("adam", "binary_crossentropy", .02)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs):
        x = self.get_inputs(inputs)
        e = self.embedding_layer(x)
        return {"y_pred": self.output_activation(self.fm(x, e) + self.mlp(e.flatten(1)))}


def field(name: str, dtype: str = "str", kind: str = "categorical", **more) -> dict:
    return {"name": name, "dtype": dtype, "type": kind, "active": True, **more}


def prepared(scratch):
    "The processed data set: its feature map, and one file of rows for training and validation."
    rows = clicks()
    history = ["^".join(f"i{i}" for i in line if i) for line in rows["history"]]
    frame = pl.DataFrame({"user": [f"u{u}" for u in rows["user"]],
                          "item": [f"i{i + 1}" for i in rows["item"]],
                          "last_item": [f"i{i + 1}" for i in rows["last_item"]],
                          "city": rows["city"].tolist(), "history": history,
                          "price": rows["price"].astype(float), "label": rows["label"]})
    columns = [field("user", min_categr_count=2), field("item"), field("last_item", share_embedding="item"),
               field("city"), field("price", "float", "numeric"),
               field("history", kind="sequence", share_embedding="item", max_len=4)]
    processor = FeatureProcessor(columns, {"name": "label", "dtype": "float"}, "clicks", str(scratch))
    processor.fit(processor.preprocess(frame.lazy()))
    encoded = processor.transform({name: frame[name].to_numpy() for name in frame.columns})
    encoded = {name: np.asarray(column) for name, column in encoded.items()}
    np.savez(scratch / "rows.npz", **encoded)
    return processor.feature_map, processor.processor_dict, encoded


def main() -> None:
    kept, scratch = arguments()
    os.chdir(scratch)
    feature_map, processors, encoded = prepared(scratch)
    vocabularies = {f: processors[f"{f}::tokenizer"].vocab for f in ("user", "item", "city")}
    files = {}
    for model, dim in (DCNv2, 6), (DeepFM, 4):
        seed_everything(1)
        feature_map.default_emb_dim = dim
        net = model(feature_map, dim, model_root=str(scratch / "kept"), metrics=["AUC"], verbose=0,
                    embedding_regularizer=1e-3)
        os.makedirs(net.model_dir, exist_ok=True)
        train, valid = RankDataLoader(feature_map, "train", str(scratch / "rows.npz"),
                                      str(scratch / "rows.npz"), batch_size=64, shuffle=False)
        net.fit(train, epochs=3, validation_data=valid)
        file = f"{net.model_id}.model"
        (kept / file).write_bytes(open(net.checkpoint, "rb").read())
        layers = net.embedding_layer.embedding_layer.embedding_layers
        tables, others = {}, {}
        for name in ("user", "item", "city"):
            seen = {*encoded[name].flat} | ({*encoded["last_item"].flat, *encoded["history"].flat}
                                            if name == "item" else set())
            rows, oov = len(layers[name].weight), vocabularies[name]["__OOV__"]
            tables[f"{EMBEDDINGS}.{name}.weight"] = table(
                name, layers[name].weight.detach(), padding=[0], oov=[oov],
                never_trained=sorted({*range(1, rows)} - seen), oov_trained=oov in seen)
            assert not layers[name].weight[0].any()
        others = {f"{EMBEDDINGS}.{name}.weight": "alias" for name in ("last_item", "history")}
        others[f"{EMBEDDINGS}.price.weight"] = "numeric field"
        others |= {key: "first-order weights" for key in net.state_dict() if key.startswith(FIRST)}
        if model is DeepFM: others[f"{FIRST}.price.weight"] = "numeric field"
        for key, value in net.state_dict().items():
            if key not in tables | others: others[key] = role(key, value)
        files[file] = {"package": "FuxiCTR", "tables": tables, "others": others}
    for name in ("feature_map.json", "feature_vocab.json"):
        (kept / name).write_bytes((scratch / "clicks" / name).read_bytes())
    expect(kept, files)


if __name__ == "__main__": main()
