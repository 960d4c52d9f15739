"""TorchRec: folders of torch.distributed.checkpoint by two processes, with the state of fused optimisers.

`DistributedModelParallel` shards the tables on CPU with fbgemm's kernels: in `tables` a table to each
process, under row-wise Adagrad, in `columns` by columns, under Adagrad, whose state is of the tables' own
shape. Rows start uniform, so that those never met are not small."""
import os

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from common import ITEMS, UNSEEN, USERS, arguments, clicks, expect, role, table
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from torch import nn
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.planner import EmbeddingShardingPlanner, ParameterConstraints, Topology

DIM = 8


class Net(nn.Module):
    "DLRM's shape: pooled embeddings into layers; last_item reads item's table."
    def __init__(self, device: torch.device):
        super().__init__()
        self.sparse = EmbeddingBagCollection(device=device, tables=[
            EmbeddingBagConfig(name="t_user", embedding_dim=DIM, num_embeddings=USERS,
                               feature_names=["user"]),
            EmbeddingBagConfig(name="t_item", embedding_dim=DIM, num_embeddings=ITEMS,
                               feature_names=["item", "last_item"])])
        self.over = nn.Sequential(nn.Linear(3 * DIM, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, ids): return self.over(self.sparse(ids).values()).squeeze(-1)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    "All of a tensor that two processes share, in both."
    if not hasattr(tensor, "local_shards"): return tensor.detach()
    found = torch.zeros(tensor.size())
    for shard in tensor.local_shards():
        (row, column), (rows, columns) = shard.metadata.shard_offsets, shard.metadata.shard_sizes
        found[row:row + rows, column:column + columns] = shard.tensor.detach()
    dist.all_reduce(found)
    return found


def trained(kind: EmbOptimType, sharding: str, rows: dict) -> DistributedModelParallel:
    "The model after an epoch; each process has its half of every batch."
    torch.manual_seed(1)
    rank, device = dist.get_rank(), torch.device("cpu")
    sharder = EmbeddingBagCollectionSharder(fused_params={"optimizer": kind, "learning_rate": .05})
    limit = ParameterConstraints(sharding_types=[sharding], compute_kernels=["fused"], min_partition=4)
    limits = dict.fromkeys(("t_user", "t_item"), limit)
    planner = EmbeddingShardingPlanner(topology=Topology(world_size=2, compute_device="cpu"),
                                       constraints=limits)
    model = Net(torch.device("meta"))
    plan = planner.collective_plan(model, [sharder], dist.GroupMember.WORLD)
    net = DistributedModelParallel(model, device=device, sharders=[sharder], plan=plan)
    over = torch.optim.Adam(net.module.over.parameters(), .01)
    for start in range(32 * rank, len(rows["user"]), 64):
        part = {name: torch.as_tensor(rows[name][start:start + 32]) for name in ("user", "item", "last_item")}
        ids = KeyedJaggedTensor(keys=list(part), values=torch.cat(list(part.values())),
                                lengths=torch.ones(3 * 32, dtype=torch.int64))
        loss = nn.functional.binary_cross_entropy_with_logits(
            net(ids), torch.as_tensor(rows["label"][start:start + 32]))
        over.zero_grad()
        loss.backward()
        over.step()
    return net


def work(rank: int, kept) -> None:
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT="29571", RANK=str(rank), WORLD_SIZE="2",
                      LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE="2")
    dist.init_process_group("gloo")
    rows, files = clicks(), {}
    for folder, kind, sharding in (("tables", EmbOptimType.EXACT_ROWWISE_ADAGRAD, "table_wise"),
                                   ("columns", EmbOptimType.EXACT_ADAGRAD, "column_wise")):
        net = trained(kind, sharding, rows)
        state = {"model": net.state_dict(), "optim": net.fused_optimizer.state_dict()}
        dcp.save(state, checkpoint_id=str(kept / folder))
        weights = {f"model.{key}": whole(value) for key, value in net.state_dict().items()}
        tables = {key: table(key.split(".")[-2], value, never_trained=UNSEEN[key.split(".")[-2][2:]])
                  for key, value in weights.items() if "embedding_bags" in key}
        others = {key: role(key, value) for key, value in weights.items() if key not in tables}
        files[folder] = {"package": "TorchRec", "tables": tables, "others": others}
    if rank == 0: expect(kept, files)
    dist.destroy_process_group()


def main() -> None:
    kept, _ = arguments()
    mp.spawn(work, (kept,), 2)


if __name__ == "__main__": main()
