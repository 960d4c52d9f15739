"""torch-rechub: DCNv2 with a sequence that shares item's table, and DeepFM, saved by its `CTRTrainer`."""
import torch
from common import CITIES, ITEMS, USERS, arguments, clicks, expect, role, table
from torch_rechub.basic.features import DenseFeature, SequenceFeature, SparseFeature
from torch_rechub.models.ranking import DCNv2, DeepFM
from torch_rechub.trainers import CTRTrainer
from torch_rechub.utils.data import DataGenerator


def features(dim: int) -> list:
    return [SparseFeature("user", USERS, dim), SparseFeature("item", ITEMS + 1, dim),
            SparseFeature("city", CITIES + 1, dim),
            SparseFeature("last_item", ITEMS + 1, dim, shared_with="item"),
            SequenceFeature("history", ITEMS + 1, dim, shared_with="item", padding_idx=0)]


def main() -> None:
    kept, scratch = arguments()
    rows, files = clicks(), {}
    inputs = {"user": rows["user"], "item": rows["item"] + 1, "last_item": rows["last_item"] + 1,
              "city": [int(c.split()[1]) + 1 if c else 0 for c in rows["city"]], "history": rows["history"],
              "price": rows["price"]}
    columns = {name: torch.as_tensor(column).numpy() for name, column in inputs.items()}
    for name, dim in ("DCNv2", 6), ("DeepFM", 4):
        torch.manual_seed(1)
        fields = features(dim)
        mlp = {"dims": [8], "dropout": .1, "activation": "relu"}
        if name == "DCNv2": net = DCNv2(fields, 2, mlp, low_rank=3, num_experts=2)
        else: net = DeepFM(deep_features=[DenseFeature("price")], fm_features=fields[:4], mlp_params=mlp)
        loader = DataGenerator(columns, rows["label"]).generate_dataloader(
            x_val=columns, y_val=rows["label"], x_test=columns, y_test=rows["label"], batch_size=64)
        trainer = CTRTrainer(net, optimizer_params={"lr": .01, "weight_decay": 1e-5}, n_epoch=3,
                             earlystop_patience=9, device="cpu", model_path=str(scratch))
        trainer.fit(loader[0], loader[1])
        file = f"{name}.pth"
        (kept / file).write_bytes((scratch / "model.pth").read_bytes())
        weights, tables = torch.load(kept / file), {}
        seen = {n: {*columns[n].flat} for n in ("user", "city")}
        seen["item"] = {*columns["item"].flat, *columns["last_item"].flat}
        if name == "DCNv2": seen["item"] |= {*columns["history"].flat} - {0}
        for field in seen:
            key = f"embedding.embed_dict.{field}.weight"
            tables[key] = table(field, weights[key],
                                never_trained=sorted({*range(len(weights[key]))} - seen[field]))
        others = {key: role(key, value) for key, value in weights.items() if key not in tables}
        files[file] = {"package": "torch-rechub", "tables": tables, "others": others}
    expect(kept, files)


if __name__ == "__main__": main()
