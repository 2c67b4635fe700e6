"""What the painter of classes is trained with: objective and samples.

Shape letters: as in `astro_dist.models.class_painter`.
"""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from astro_dist.flare.painter_cards import write_card
from astro_dist.flare.painter_config import DiffusionConfig
from astro_dist.flare.painter_samples import PictureBatch, PictureData
from astro_dist.models.class_painter import build_class_painter, build_class_scheduler
from astro_dist.store.reader import StoreReader
from astro_dist.train.objectives import diffuse, to_tensors
from astro_dist.train.recipe import Built, Cell, Figures


class DiffusionObjective:
    """Mean squared error of the velocity, given the class, which is left out for some samples."""

    def __init__(
        self, config: DiffusionConfig, labels: list[str], planes: int, size_pix: int, device: str
    ) -> None:
        self.config = config
        self.network: Any = build_class_painter(config.preset, labels, planes, size_pix)
        self.nothing = self.network.nothing
        self.scheduler = build_class_scheduler()
        self.alpha_bar_T = self.scheduler.alphas_cumprod.to(device)

    def loss(self, network: nn.Module, batch: PictureBatch, device: str) -> tuple[Tensor, Figures]:
        tensors = to_tensors(batch, device)
        x_BPSS = tensors["picture_BPSS"]
        noise_BPSS, time_B = tensors["noise_BM"].view_as(x_BPSS), tensors["time_B2"][:, 0]
        label_B = tensors["label_B"].masked_fill(tensors["chance_B2"][:, 0] < self.config.lost, self.nothing)
        noisy_BPSS, step_B, wanted_BPSS = diffuse(
            self.scheduler, self.alpha_bar_T, x_BPSS, noise_BPSS, time_B
        )
        return ((network(noisy_BPSS, step_B, label_B) - wanted_BPSS) ** 2).mean(), {}

    def publish(self, folder: Path, batches: list[PictureBatch], device: str) -> dict[str, Any]:
        self.network.save_pretrained(folder, safe_serialization=True)
        self.scheduler.save_pretrained(folder / "scheduler")
        write_card(folder, "diffusion", self.config)
        return {}


def build_diffusion(cell: Cell, device: str) -> Built:
    """Return objective and samples of the painter of classes."""
    config, reader = cell.config, StoreReader(cell.run.product("pictures.zarr"))
    assert isinstance(config, DiffusionConfig)
    planes, size_pix = int(reader.attrs["planes"]), int(reader.attrs["size_pix"])
    objective = DiffusionObjective(config, list(reader.attrs["labels"]), planes, size_pix, device)
    samples, validation = (
        PictureData(reader, config, (cell.run.seed, *cell.key), 1, planes * size_pix**2, split)
        if len(reader.select(split)) or split == "train"
        else None
        for split in ("train", "validation")
    )
    assert samples is not None
    return objective, samples, validation
