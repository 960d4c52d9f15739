"""RecBole: BPR, SASRec and the context model DCNV2, trained and saved by its `Trainer`.

Every field has a row 0, `[PAD]`, that nothing trains and that is not zero. The context model keeps its fields
in one table; their sizes, in the order of the model's `token_field_names`, are in the expectations."""
import os

import numpy as np
import torch
from common import arguments, clicks, expect, role, table
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed


def write_clicks(folder) -> None:
    "RecBole's atomic files: one of interactions, one of users, whose tags are a sequence."
    rows = clicks()
    folder.mkdir(parents=True, exist_ok=True)
    stamps = np.arange(len(rows["user"]))
    lines = ["user_id:token\titem_id:token\tcity:token\tprice:float\tlabel:float\ttimestamp:float\t"
             "tags:token_seq"]
    for n in stamps:
        tags = " ".join(f"t{i % 7}" for i in rows["history"][n] if i)
        city = rows["city"][n].replace(" ", "")
        lines.append(f"u{rows['user'][n]}\ti{rows['item'][n]}\t{city}\t{rows['price'][n]:.3f}\t"
                     f"{rows['label'][n]:.0f}\t{n}\t{tags}")
    (folder / "clicks.inter").write_text("\n".join(lines) + "\n")


def main() -> None:
    kept, scratch = arguments()
    os.chdir(scratch)
    write_clicks(scratch / "clicks")
    common = {"data_path": ".", "epochs": 3, "train_batch_size": 128, "eval_batch_size": 512,
              "checkpoint_dir": "saved", "show_progress": False, "use_gpu": False,
              "load_col": {"inter": ["user_id", "item_id", "label", "timestamp"]}, "state": "ERROR",
              "embedding_size": 8, "learning_rate": .01, "MAX_ITEM_LIST_LENGTH": 5, "worker": 0}
    context = {"load_col": {"inter": ["user_id", "item_id", "city", "price", "label", "tags"]},
               "mlp_hidden_size": [8], "cross_layer_num": 2, "embedding_size": 4,
               "eval_args": {"split": {"RS": [.8, .1, .1]}, "order": "RO", "group_by": None,
                             "mode": "labeled"},
               "metrics": ["AUC"], "valid_metric": "AUC", "normalize_all": False,
               "numerical_features": ["price"]}
    small = {"n_layers": 1, "n_heads": 1, "hidden_size": 8, "inner_size": 8, "train_neg_sample_args": None}
    files = {}
    for name, more in ("BPR", {}), ("SASRec", small), ("DCNV2", context):
        config = Config(model=name, dataset="clicks", config_dict=common | more)
        init_seed(config["seed"], True)
        dataset = create_dataset(config)
        train, valid, _ = data_preparation(config, dataset)
        net = get_model(name)(config, train.dataset).to(config["device"])
        trainer = get_trainer(config["MODEL_TYPE"], name)(config, net)
        trainer.fit(train, valid, verbose=False, show_progress=False)
        file = f"{name}-Nov-30-2026_02-00-00.pth"
        (kept / file).write_bytes(open(trainer.saved_model_file, "rb").read())

        saved = torch.load(trainer.saved_model_file, weights_only=False)
        weights, tables, others = saved["state_dict"], {}, {}
        # Adam's second moments stay zero where no gradient ever came
        moments = {key: saved["optimizer"]["state"][number]["exp_avg_sq"]
                   for number, (key, _) in enumerate(net.named_parameters())
                   if number in saved["optimizer"]["state"]} # what takes no part in the model has none
        idle = {key: torch.nonzero((moment == 0).all(-1))[:, 0].tolist() for key, moment in moments.items()
                if moment.ndim == 2}
        for key in weights:
            if key in ("user_embedding.weight", "item_embedding.weight"):
                tables[key] = table(key.removesuffix(".weight"), weights[key], padding=[0],
                                    never_trained=idle[key])
        if name == "SASRec": others["position_embedding.weight"] = "positions"
        if name == "DCNV2":
            key = "token_embedding_table.embedding.weight"
            sizes = {field: int(dataset.num(field)) for field in net.token_field_names}
            starts = net.token_embedding_table.offsets.tolist()
            assert starts == np.cumsum([0, *sizes.values()])[:-1].tolist()
            assert sum(sizes.values()) == len(weights[key])
            tables[key] = table("token_embedding_table", weights[key], padding=starts, fields=sizes,
                                never_trained=idle[key])
            for (field, size), start in zip(sizes.items(), starts, strict=True):
                still = [row - start for row in idle[key] if start <= row < start + size]
                tables[f"{key}[{field}]"] = table(field, weights[key][start:start + size], padding=[0],
                                                  never_trained=still)
            for i, field in enumerate(net.token_seq_field_names): # the file has no name for them
                key = f"token_seq_embedding_table.{i}.weight"
                tables[key] = table(f"token_seq {i}", weights[key], padding=[0], field=field,
                                    never_trained=idle[key])
            others["float_embedding_table.embedding.weight"] = "numeric field"
            others |= {key: "first-order weights" for key in weights
                       if key.startswith("first_order_linear.") and "bias" not in key}
        for key, value in weights.items():
            if key not in tables | others: others[key] = role(key, value)
        files[file] = {"package": "RecBole", "tables": tables, "others": others}
    expect(kept, files)


if __name__ == "__main__": main()
