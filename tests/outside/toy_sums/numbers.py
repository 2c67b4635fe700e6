"""What the tasks of the stages do; imported where tasks are done."""

import io
import json

import numpy as np

from astro_dist.engine.files import publish_bytes
from toy_sums.config import NumbersConfig, VerdictConfig


def draw_numbers(run, task):
    index = task.args["index"]
    pairs = run.stream("numbers", index).standard_normal(
        (run.section(NumbersConfig).per_shard, 2), np.float32
    )
    buffer, name = io.BytesIO(), f"{index:03}.npy"
    np.save(buffer, pairs)
    return {"sha256": {name: publish_bytes(run.output / name, buffer.getvalue())}, "sum": float(pairs.sum())}


def sum_up(run, results):
    return {"sum": round(sum(result["sum"] for result in results.values()), 3)}


def check_numbers(path):
    return [f"{file}: no pairs" for file in sorted(path.glob("*.npy")) if np.load(file).shape[1] != 2]


class Pairs:
    """Pairs and the first plus twice the second number, of some of the files."""

    def __init__(self, folder, files):
        paths = [path for i, path in enumerate(sorted(folder.glob("*.npy"))) if i in files]
        self.pairs = np.concatenate([np.load(path) for path in paths])

    def batch(self, first, count):
        rows = self.pairs[np.arange(first, first + count) % len(self.pairs)]
        return rows, rows @ np.array([1.0, 2.0], np.float32)


class LearnSum:
    """A network of two weights."""

    def __init__(self):
        from torch import nn

        self.network = nn.Linear(2, 1)

    def loss(self, network, batch, device):
        import torch

        pairs, wanted = (torch.from_numpy(array).to(device) for array in batch)
        return ((network(pairs)[:, 0] - wanted) ** 2).mean(), {}

    def publish(self, folder, batches, device):
        from safetensors.torch import save_file

        save_file(self.network.state_dict(), folder / "weights.safetensors")
        return {"weights": [round(w, 6) for w in self.network.weight[0].tolist()]}


def build(cell, device):
    folder = cell.run.product("numbers")
    return LearnSum(), Pairs(folder, cell.rows), Pairs(folder, [0])


def name_best(run, task):
    losses = {name: facts["validation_loss"] for name, facts in run.facts("learn")["cells"].items()}
    shown = {name: round(loss, run.section(VerdictConfig).digits) for name, loss in losses.items()}
    text = json.dumps({"best": min(losses, key=losses.get), "losses": shown}, sort_keys=True)
    return {"sha256": {".": publish_bytes(run.output, text.encode())}, "best": min(losses, key=losses.get)}


def pass_on(run, results):
    return {"best": results["verdict"]["best"]}
