"""Lightning: a two-tower model saved by the `Trainer`, with an enum, a path and a numpy scalar among its
hyper-parameters, and one of a compiled child."""
import enum
from pathlib import Path

import lightning
import numpy as np
import torch
from common import ITEMS, UNSEEN, USERS, arguments, clicks, expect, role, table
from torch import nn


class Loss(enum.Enum):
    LOGISTIC = "logistic"


class Towers(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.user_emb = nn.Embedding(USERS, dim)
        self.item_emb = nn.Embedding(ITEMS + 1, dim, padding_idx=0)
        self.item_bias = nn.Embedding(ITEMS + 1, 1)
        self.tower = nn.Linear(dim, dim, bias=False)

    def forward(self, user, item):
        return ((self.tower(self.user_emb(user)) * self.item_emb(item)).sum(-1)
                + self.item_bias(item).squeeze(-1))


class Net(lightning.LightningModule):
    def __init__(self, dim: int, loss: Loss, folder: Path, rate: np.float64, compiled: bool = False):
        super().__init__()
        self.save_hyperparameters()
        self.model = torch.compile(Towers(dim), backend="eager") if compiled else Towers(dim)

    def training_step(self, batch, _):
        user, item, label = batch
        return nn.functional.binary_cross_entropy_with_logits(self.model(user, item), label)

    def configure_optimizers(self): return torch.optim.Adam(self.parameters(), self.hparams.rate)


def main() -> None:
    kept, scratch = arguments()
    rows, files = clicks(), {}
    data = torch.utils.data.TensorDataset(torch.as_tensor(rows["user"]), torch.as_tensor(rows["item"] + 1),
                                          torch.as_tensor(rows["label"]))
    for file, compiled in ("towers.ckpt", False), ("compiled.ckpt", True):
        torch.manual_seed(1)
        net = Net(8, Loss.LOGISTIC, Path("data"), np.float64(.01), compiled)
        trainer = lightning.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False,
                                    enable_checkpointing=False, default_root_dir=scratch,
                                    enable_model_summary=False)
        trainer.fit(net, torch.utils.data.DataLoader(data, batch_size=64))
        trainer.save_checkpoint(kept / file)
        weights, under = net.state_dict(), "model._orig_mod." if compiled else "model."
        tables = {
            f"{under}user_emb.weight": table("user_emb", weights[f"{under}user_emb.weight"],
                                             never_trained=UNSEEN["user"]),
            # padding_idx is not in the file: row 0 stays zero
            f"{under}item_emb.weight": table("item_emb", weights[f"{under}item_emb.weight"],
                                             never_trained=[0, *(i + 1 for i in UNSEEN["item"])])}
        others = {f"{under}item_bias.weight": "first-order weights"}
        for key, value in weights.items():
            if key not in tables | others: others[key] = role(key, value)
        files[file] = {"package": "Lightning", "tables": tables, "others": others}
    expect(kept, files)


if __name__ == "__main__": main()
