"""What the recipes of the radio pipeline are built from: objectives, samples and published weights."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.outputs import check_product
from astro_dist.models.autoencoder import load_autoencoder as read_autoencoder
from astro_dist.models.denoiser import load_denoiser, load_scheduler, silence_facts, without_facts
from astro_dist.models.foreign import check_finite, check_part, check_scheduler, lacks_facts
from astro_dist.models.masks import load_mask_denoiser
from astro_dist.radio.config import (
    AutoencoderConfig,
    ByolConfig,
    DiffusionConfig,
    MasksTrainingConfig,
    SegmenterConfig,
)
from astro_dist.radio.generator import AutoencoderObjective, DiffusionObjective, latent_channels
from astro_dist.radio.judges import ByolObjective, LabelledData, SegmenterObjective, ViewData
from astro_dist.radio.masks import MaskData, MasksObjective
from astro_dist.radio.samples import TrainingData
from astro_dist.radio.weights import check_latents, check_target
from astro_dist.store.reader import StoreReader
from astro_dist.train.recipe import Built, Cell, Objective, Samples


def build_autoencoder(cell: Cell, device: str) -> Built:
    """Return objective and samples of the autoencoder."""
    config = cell.config
    assert isinstance(config, AutoencoderConfig)
    # The autoencoder has no background condition: with 1.0 no second cutout is read for a sample.
    kind = partial(TrainingData, latent_channels=latent_channels(config.preset), own_background=1.0)
    return _with_samples(cell, lambda _: AutoencoderObjective(config), kind)


def build_diffusion(cell: Cell, device: str) -> Built:
    """Return objective and samples of the latent diffusion model."""
    config = cell.config
    assert isinstance(config, DiffusionConfig)
    channels, own = latent_channels(config.preset), config.own_background
    kind = partial(TrainingData, latent_channels=channels, own_background=own)
    # Also where a training goes on from a checkpoint.
    check_product(cell.run.root, "autoencoder")

    def make(reader: StoreReader) -> Objective:
        stretch = str(reader.attrs.get("stretch", "asinh"))
        return DiffusionObjective(config, cell.run.product("models/autoencoder"), stretch, device)

    return _with_samples(cell, make, kind)


def build_masks(cell: Cell, device: str) -> Built:
    """Return objective and samples of the model of masks."""
    config = cell.config
    assert isinstance(config, MasksTrainingConfig)
    return _with_samples(cell, lambda _: MasksObjective(config, device), MaskData)


def build_byol(cell: Cell, device: str) -> Built:
    """Return objective and samples of the feature encoder."""
    config = cell.config
    assert isinstance(config, ByolConfig)
    return _with_samples(cell, lambda _: ByolObjective(config), ViewData)


def build_segmenter(cell: Cell, device: str) -> Built:
    """Return objective and samples of the segmenter."""
    config = cell.config
    assert isinstance(config, SegmenterConfig)
    return _with_samples(cell, lambda _: SegmenterObjective(config), LabelledData)


def _with_samples(
    cell: Cell, make: Callable[[StoreReader], Objective], kind: Callable[..., Samples]
) -> Built:
    """Return an objective with samples of the train split, and of the validation split unless it is empty."""
    reader = StoreReader(cell.run.product("cutouts.zarr"))
    objective = make(reader)
    key = (cell.run.seed, *cell.key)
    make_split = partial(kind, reader, cell.config, key)
    held_out = make_split(split="validation") if len(reader.select("validation")) else None
    return objective, make_split(split="train"), held_out


def load_autoencoder(objective: Any, folder: Path) -> None:
    """Put published weights of the autoencoder into an objective."""
    target = objective.network.autoencoder
    # Kind and size are compared before a library reads weights that may come from anybody.
    check_part(folder, target, "autoencoder")
    # The weights of the package lie in half precision; training is in float32.
    loaded = read_autoencoder(folder).float()
    check_finite(folder, loaded.state_dict().items(), "autoencoder")
    target.load_state_dict(loaded.state_dict())
    # `load_state_dict` carries weights only; the factor is in the configuration.
    target.register_to_config(scaling_factor=loaded.config.scaling_factor)


def load_diffusion(objective: Any, folder: Path) -> None:
    """Put published weights of the latent diffusion model into an objective."""
    check_latents(folder, objective.latents_of)
    wanted = {name: objective.network.config[name] for name in ("target", "stretch")}
    check_target(folder, wanted)
    network = objective.network
    untold = lacks_facts(folder, int(network.conditioner.config.get("facts", 0)))
    target = without_facts(network) if untold else network
    for part in ("unet", "conditioner"):
        check_part(folder / part, getattr(target, part), "diffusion")
    _adopt(objective, load_denoiser, folder, "diffusion", strict=not untold)
    if untold:
        silence_facts(network)


def load_masks(objective: Any, folder: Path) -> None:
    """Put published weights of the model of masks into an objective."""
    check_part(folder, objective.network, "masks")
    _adopt(objective, load_mask_denoiser, folder, "masks")


def _adopt(
    objective: Any, load: Callable[[Path], Any], folder: Path, setting: str, strict: bool = True
) -> None:
    """Put the weights of a diffusion model into an objective, as float32, and take over its schedule."""
    check_scheduler(folder, setting)
    loaded = load(folder).float()
    check_finite(folder, loaded.state_dict().items(), setting)
    objective.network.load_state_dict(loaded.state_dict(), strict=strict)
    scheduler = load_scheduler(folder)
    if not bool(scheduler.alphas_cumprod.isfinite().all()):
        raise ConfigError(
            f"{setting}.start_from: the noise schedule of {folder} is not of finite numbers; fetch it again"
        )
    # Weights fit the noise levels of their own schedule only, so that theirs replaces that of the preset.
    objective.scheduler = scheduler
    objective.alpha_bar_T = objective.scheduler.alphas_cumprod.to(objective.alpha_bar_T.device)
