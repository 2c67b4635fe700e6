"""The training of super-resolution: its samples, its loss, and weights to begin with.

Shape letters: B batch, P planes, S side of a crop in pixels.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.pixels import from_network, to_network
from astro_dist.engine.work import Run
from astro_dist.enhance.superres_card import write_superres_card
from astro_dist.enhance.superres_config import FilterConfig, SuperresConfig
from astro_dist.enhance.superres_samples import MapPairs, PairSamples, SuperBatch, SuperSamples
from astro_dist.models.enlargers import KINDS, check_adopted, kind_of, write_adopted_card
from astro_dist.models.foreign import CONFIG, read_settings
from astro_dist.models.super_files import check_fit, load_checked
from astro_dist.models.super_net import SuperNet, enlarge_bicubic
from astro_dist.models.super_presets import SCALE, settings_of
from astro_dist.pictures.config import PicturesConfig
from astro_dist.pictures.degradations import halve
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.store.picture_pairs import PairData, as_it_is
from astro_dist.store.reader import StoreReader
from astro_dist.train.objectives import to_tensors
from astro_dist.train.recipe import Built, Cell, Figures

SPREAD = 0.5
"""Wanted standard deviation of what is noised, where it is a difference to the base."""
LEAST_SPREAD = 1e-6
"""Deviation from the bicubic enlargement below which images have no detail but rounding."""
MEASURED = 64
"""Samples from which the factor of that difference follows."""


class SuperresObjective:
    """The error of the predicted noise (L1, eq. 6 of SR3) or velocity (squared) of noisy images."""

    def __init__(self, config: SuperresConfig, network: Any) -> None:
        self.config, self.network = config, network

    def loss(self, network: nn.Module, batch: SuperBatch, device: str) -> tuple[Tensor, Figures]:
        parts, own = to_tensors(batch, device), self.network
        base, noise = enlarge_bicubic(parts["small_BPss"]), parts["noise_BPSS"]
        target = own.to_target(parts["large_BPSS"], base)
        gamma_B111 = parts["gamma_B"][:, None, None, None]
        signal, sigma = gamma_B111.sqrt(), (1 - gamma_B111).sqrt()
        # Eq. 4 of SR3: the noisy image at any level.
        predicted = network(signal * target + sigma * noise, parts["gamma_B"], base)
        if own.config.predicts == "noise":
            return (predicted - noise).abs().mean(), {}
        # v = alpha noise - sigma x: section 4 of Salimans & Ho 2022.
        return (predicted - (signal * noise - sigma * target)).square().mean(), {}

    def publish(self, folder: Path, batches: list[SuperBatch], device: str) -> dict[str, Any]:
        self.network.save_pretrained(folder, safe_serialization=True)
        if isinstance(self.network, SuperNet):
            write_superres_card(folder, self.config, self.network)
            return {"reach_pix": self.network.config.reach_pix}
        write_adopted_card(folder, self.network)
        return {"reach_pix": None}


def build(cell: Cell, device: str) -> Built:
    """Return objective and samples of super-resolution."""
    config, key = cell.config, (cell.run.seed, *cell.key)
    assert isinstance(config, SuperresConfig)
    maps = _of_maps(cell.run)
    reader = StoreReader(cell.run.product("cutouts.zarr" if maps else "pictures.zarr"))
    splits = [name for name in ("train", "validation") if name == "train" or len(reader.select(name))]
    data, *held_out = (
        SuperSamples(_pairs(reader, config, key, split), config, (*key, split)) for split in splits
    )
    facts: dict[str, Any] = {"half": config.half or "bicubic"}
    if maps:
        facts |= {"stretch": str(reader.attrs.get("stretch", "asinh")), "unit": "Jy/beam"}
        facts["beam_pix"] = _beams(reader)
    elif config.filtered:
        facts["filtered"] = [float(number) for number in _filter_numbers(config.filter)]
    planes = 1 if maps else int(reader.attrs["planes"])
    network = SuperNet(**_settings(config, planes), **facts)
    if network.config.base == "bicubic":
        network.register_to_config(residual_scale=_measure_scale(data.batch(0, MEASURED)))
    return SuperresObjective(config, network), data, held_out[0] if held_out else None


def load(objective: SuperresObjective, path: Path) -> None:
    """Put weights into an objective: those of a published folder, or a file of the public code.

    What the weights were trained on stays stated, but for the filter of new targets.
    """
    config, ours = objective.config, objective.network.config
    if _adopts(path):
        check_adopted(path, "superres", config.steps, SCALE, ours.planes)
        objective.network = KINDS[kind_of(path, "superres")].load(path, "superres").train()
        return
    network = load_checked(path, _settings(config, ours.planes), "superres")
    if config.steps:
        facts = {name: ours[name] for name in ("half", "filtered", "stretch", "unit", "beam_pix")}
        network.register_to_config(**facts)
    objective.network = network.train()


def refuse(run: Run, path: Path) -> None:
    """Refuse weights of another network than the settings say; a `Recipe.refuse`."""
    config = run.section(SuperresConfig)
    planes = 1 if _of_maps(run) else run.section(PicturesConfig).planes
    if not _adopts(path):
        check_fit(path, _settings(config, planes), "superres")
        if config.steps == 0:
            _refuse_other_brightness(path, _of_maps(run))
    elif _of_maps(run):
        raise ConfigError(
            f"superres.start_from: {path} enlarges pictures, whose brightness is no flux; give a "
            "network that was trained on maps, or leave start_from out"
        )
    else:
        check_adopted(path, "superres", config.steps, SCALE, planes)


def _refuse_other_brightness(path: Path, of_maps: bool) -> None:
    """Refuse weights as they are whose images are not those of the run: maps have no black and no white."""
    if path.is_dir() and (read_settings(path / CONFIG, "superres").get("stretch") is not None) != of_maps:
        theirs, ours = ("pictures", "maps") if of_maps else ("maps", "pictures")
        raise ConfigError(
            f"superres.start_from: {path} learnt from {theirs}, and here are {ours}; give weights of {ours}, "
            "or set superres.steps to go on from these"
        )


def _adopts(path: Path) -> bool:
    """Return whether weights are those of another training, which are taken as they are."""
    return kind_of(path, "superres") != SuperNet.__name__


def _of_maps(run: Run) -> bool:
    return "maps" in run.settings.sections


def _settings(config: SuperresConfig, planes: int) -> dict[str, Any]:
    return settings_of(config.preset, config.width, planes)


def _pairs(
    reader: StoreReader, config: SuperresConfig, key: tuple[int | str, ...], split: str
) -> PairSamples:
    if reader.attrs["kind"] == "cutouts":
        return MapPairs(reader, config, key, split)
    shrink = partial(_shrink, config.half or "bicubic")
    change = partial(_filter, *_filter_numbers(config.filter)) if config.filtered else as_it_is
    return PairData(reader, config.crop_pix, SCALE, shrink, key, split, change)


def _shrink(kind: Any, picture_PSS: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    return halve(picture_PSS, kind)


def _filter_numbers(config: FilterConfig) -> tuple[int, float, float]:
    return config.diameter_pix, config.brightness, config.radius_pix


def _filter(
    diameter_pix: int, brightness: float, radius_pix: float, picture_PSS: NDArray[Any]
) -> NDArray[Any]:
    # OpenCV belongs to the extra [enhance]: only filtered targets need it.
    from astro_dist.enhance.filters import filter_bilateral

    image_PSS = (to_network(picture_PSS) / 2 + 0.5).astype(np.float32)
    filtered = filter_bilateral(image_PSS, diameter_pix, brightness, radius_pix)
    return from_network(2 * filtered - 1, picture_PSS.dtype.name)


def _measure_scale(batch: SuperBatch) -> float:
    """Return the factor that gives the difference to the bicubic enlargement a spread of `SPREAD`."""
    base = enlarge_bicubic(torch.from_numpy(batch.small_BPss)).numpy()
    spread = float(np.sqrt(np.square(batch.large_BPSS - base, dtype=np.float64).mean()))
    if spread < LEAST_SPREAD:
        raise ConfigError(
            "superres: the images of the training split are constant, with no detail to learn; give others"
        )
    # Two digits: the last bits of a mean depend on the machine.
    return float(f"{SPREAD / max(spread, 1e-3):.2g}")


def _beams(reader: StoreReader) -> list[float]:
    """Return the least and greatest beam (FWHM) of the cutouts in pixels of the small images."""
    columns, names = reader.columns, ("beam_major_arcsec", "beam_minor_arcsec", "beam_pa_deg")
    found = {
        (int(source), *(float(columns[name][row]) for name in names))
        for row, source in enumerate(columns["source_map"])
    }
    maps = reader.attrs["maps"]
    widths = [Beam(*beam).fwhm_pix(Pixel(*maps[source]["pixel_arcsec"])) / SCALE for source, *beam in found]
    return [round(min(widths), 3), round(max(widths), 3)]
