"""A run directory as the stages leave it, made of simple parts: Gaussians on noise, two stores, records."""

import json
from pathlib import Path

import numpy as np
import yaml
from scipy.ndimage import gaussian_filter

from astro_dist.challenge.config import ChallengeConfig
from astro_dist.engine.files import publish_bytes, tree_digests
from astro_dist.engine.ledger import Ledger, Published
from astro_dist.engine.seeds import stream
from astro_dist.engine.work import Run
from astro_dist.field.columns import COLUMNS
from astro_dist.field.config import AssembleConfig
from astro_dist.field.truth import select_truth, write_truth
from astro_dist.report.config import ReportConfig
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.fits_file import (
    BandedImage,
    create_banded,
    plane_wcs,
    radio_header,
    seal_banded,
    write_rows,
)
from astro_dist.sky.maps import MapsConfig, SkyMap
from astro_dist.sky.windows import bands
from astro_dist.store.schema import STACKS, publish_store
from astro_dist.store.shards import write_shard
from astro_dist.store.stamps import publish_stamps, write_stamps
from tests import settings

BEAM, PIXEL, RMS = Beam(6.4, 5.2, 30.0), Pixel(1.5, 1.5), 1.4e-4
STAMP = 64


def make_run(root: Path) -> Run:
    """Return a run with the sections the report reads."""
    sections = {
        "maps": MapsConfig(survey="Testing Sky Survey"),
        "assemble": AssembleConfig(),
        "challenge": ChallengeConfig(enabled=True),
        "report": ReportConfig(zooms=(2, 5), examples=3),
    }
    return settings.make_run(root, seed=7, name="small-<run> & co", **sections)


def add_config(run: Run) -> None:
    """Write the configuration as the engine keeps it in the run directory."""
    sections = {name: section.model_dump(mode="json") for name, section in run.settings.sections.items()}
    text = yaml.safe_dump({"name": run.name, "seed": run.seed, **sections}, sort_keys=False)
    publish_bytes(run.root / "config.yaml", text.encode())


def publish(run: Run, stage: str, product: str, facts: dict, stable: bool = True) -> None:
    path = run.root / product
    files = tree_digests(path) if path.exists() else {}
    fingerprint = f"{sum(map(ord, stage)):064x}"
    records = run.ledger.records(stage, fingerprint)
    records.record("task-0", {}, {"start": 1000.0, "seconds": 61.5, "host": "h"})
    records.record("task-1", {}, {"start": 1030.0, "seconds": 60.0, "host": "h"})
    Ledger(run.root).publish(stage, Published(fingerprint, {}, product, files, facts, stable))


def add_field(run: Run, shape=(300, 375), n=60, band_rows=512) -> None:
    """Publish field/ with a map, a mask and a truth."""
    folder = run.root / "field"
    rng = stream(run.seed, "small field")
    table = _place(shape, n, rng)
    _write_images(folder, shape, table, rng, band_rows)
    truth = select_truth(table, SkyMap.open(folder / "map.fits", MapsConfig(), verify=False))
    write_truth(folder, truth, {}, [], BEAM)
    publish(run, "assemble", "field", {"objects": n, "map": {"rms_jy_beam": RMS}})


def _place(shape, n, rng):
    size = 41
    table = {name: np.zeros(n, np.int32) for name in COLUMNS if name not in ("class_name", "anchor")}
    table["anchor"] = np.full(n, "centroid")
    table |= {"id": np.arange(1, n + 1), "class": np.where(rng.random(n) < 0.25, 3, 2).astype(np.uint8)}
    table["y0"], table["x0"] = rng.integers(0, shape[0] - size, n), rng.integers(0, shape[1] - size, n)
    table["y_pix"], table["x_pix"] = table["y0"] + 20.0, table["x0"] + 20.0
    k = rng.exponential(3, 4 * n)
    table["k"] = k[k < 10][:n]
    table["sigma_jy_beam"] = np.full(n, RMS, np.float32)
    table["peak_jy_beam"] = (RMS * table["k"]).astype(np.float32)
    extended = table["class"] == SourceClass.EXTENDED
    table["flux_jy"] = table["peak_jy_beam"] * np.where(extended, rng.lognormal(1.2, 0.5, n), 1.02)
    table["major_arcsec"] = np.where(extended, rng.lognormal(3, 0.3, n), rng.normal(6.5, 0.1, n))
    table["minor_arcsec"] = 0.8 * table["major_arcsec"]
    wcs = plane_wcs(shape, PIXEL, 180.0, -30.0)
    table["ra_deg"], table["dec_deg"] = wcs.pixel_to_world_values(table["x_pix"], table["y_pix"])
    table["ra_peak_deg"], table["dec_peak_deg"] = table["ra_deg"], table["dec_deg"]
    table["snr"] = table["k"]
    table["object"], table["stamp"] = np.arange(n) // 2, np.arange(n) // 4
    return table


def draw_source(extended: bool, turn: int, size=41):
    """Return the profile of a source with unit peak and its class mask."""
    y, x = np.mgrid[:size, :size] - size // 2
    if not extended:
        image = BEAM.profile(y, x, PIXEL)
    else:
        lobes = (
            BEAM.profile((y - 7) / 1.6, (x - 5) / 1.6, PIXEL),
            BEAM.profile((y + 7) / 1.5, (x + 4) / 1.5, PIXEL),
        )
        image = np.rot90(lobes[0] + 0.8 * lobes[1] + 0.5 * BEAM.profile(y, x, PIXEL), turn)
    image = (image / image.max()).astype(np.float32)
    return image, np.where(image > 0.2, 3 if extended else 2, 0).astype(np.uint8)


def _write_images(folder, shape, table, rng, band_rows):
    wcs = plane_wcs(shape, PIXEL, 180.0, -30.0)
    header = radio_header(shape, wcs, BEAM, 1.4e9, object_name="small")
    mask_header = radio_header(shape, wcs, unit="", dtype=np.uint8)
    layers = {
        "map.fits": BandedImage(header, shape, np.float32),
        "mask.fits": BandedImage(mask_header, shape, np.uint8),
    }
    for name, layer in layers.items():
        create_banded(folder / name, layer)
    records = {"map.fits": {}, "mask.fits": {}}
    for band in bands(shape, band_rows):
        image = RMS * _noise(rng, band.shape)
        mask = np.zeros(band.shape, np.uint8)
        for i in np.flatnonzero((table["y0"] < band.y1) & (table["y0"] + 41 > band.y0)):
            profile, classes = draw_source(table["class"][i] == 3, i)
            y0, x0 = table["y0"][i] - band.y0, table["x0"][i]
            low, high = max(0, y0), min(band.height, y0 + 41)
            here = np.s_[low:high, x0 : x0 + 41]
            image[here] += table["peak_jy_beam"][i] * profile[low - y0 : high - y0]
            mask[here] = np.maximum(mask[here], classes[low - y0 : high - y0])
        if band.y0 == 0:
            image[:8, :10] = np.nan
        records["map.fits"][f"b{band.y0}"] = write_rows(folder / "map.fits", band.y0, image)
        records["mask.fits"][f"b{band.y0}"] = write_rows(folder / "mask.fits", band.y0, mask)
    for name, bands_of in records.items():
        seal_banded(folder / name, layers[name], bands_of)


def _noise(rng, shape):
    noise = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 1.7)
    return noise / noise.std()


def add_stores(run: Run, n=24, size=STAMP, rejected=None, accepted=40) -> None:
    """Publish cutouts.zarr and stamps.zarr; stamp i was drawn for cutout n - 1 - i, turned i % 8."""
    rng = stream(run.seed, "small stores")
    clean, masks, instances = zip(*(_scene(rng, i, size) for i in range(n)), strict=True)
    clean, masks, instances = np.stack(clean), np.stack(masks), np.stack(instances)
    real = RMS * (clean + np.stack([_noise(rng, (size, size)) for _ in range(n)]))
    real[0, :3] = np.nan
    beam = {
        "beam_major_arcsec": np.full(n, BEAM.major_arcsec),
        "beam_minor_arcsec": np.full(n, BEAM.minor_arcsec),
        "beam_pa_deg": np.full(n, BEAM.pa_deg),
        "rms_jy_beam": np.full(n, RMS),
    }
    names = (
        "source_map",
        "y0",
        "x0",
        "ra_deg",
        "dec_deg",
        "background_jy_beam",
        "flags",
        "split",
        "n_objects",
    )
    zeros = {name: np.zeros(n) for name in names}
    arrays = {
        "image": real.astype(np.float32),
        "mask": masks,
        "instances": instances,
        "valid": np.isfinite(real),
    }
    for spec in STACKS["cutouts"]:
        write_shard(run.product("cutouts.zarr"), spec, 0, arrays[spec.name], n)
    attrs = {
        "accept": {},
        "maps": [{"name": "m", "pixel_arcsec": [PIXEL.dy_arcsec, PIXEL.dx_arcsec]}],
        "splits": [],
        "survey": "small",
        "stretch": "asinh",
    }
    publish_store(run.product("cutouts.zarr"), "cutouts", size, n, {**zeros, **beam}, attrs)
    donor, turn = np.arange(n)[::-1], np.arange(n) % 8
    turned = [
        np.stack([_turn(a[d], t) for d, t in zip(donor, turn, strict=True)])
        for a in (clean, masks, instances)
    ]
    write_stamps(run.product("stamps.zarr"), 0, (RMS * turned[0]).astype(np.float32), *turned[1:], n)
    columns = {"donor": donor, "background_donor": donor, "symmetry": turn, **beam}
    publish_stamps(run.product("stamps.zarr"), size, n, columns, attrs)
    publish(run, "cutouts", "cutouts.zarr", {"cutouts": n})
    publish(
        run,
        "generate",
        "stamps.zarr",
        {"stamps": n, "accepted": accepted, "rejected": rejected or {}, "accepted_iou": 0.8123},
    )


def _turn(array, k):
    turned = np.rot90(array, k % 4)
    return turned[:, ::-1] if k >= 4 else turned


def _scene(rng, i, size):
    """Return a stamp in sigma, its mask and instances; every third is extended, every third spurious."""
    image, mask = np.zeros((size, size), np.float32), np.zeros((size, size), np.uint8)
    instances = np.zeros((size, size), np.uint16)
    for number in range(1, 3):
        profile, classes = draw_source(i % 3 == 1 and number == 1, i)
        y, x = rng.integers(0, size - 41, 2)
        box = np.s_[y : y + 41, x : x + 41]
        image[box] += rng.uniform(8, 40) * profile
        mask[box] = np.where(classes > 0, classes, mask[box])
        instances[box] = np.where(classes > 0, number, instances[box])
    if i % 3 == 2:
        mask[5:9, :20], instances[5:9, :20] = SourceClass.SPURIOUS, 3
        image[5:9, :20] += 4
    return image, mask, instances


def add_curves(run: Run, steps=200) -> None:
    rng = stream(run.seed, "small curves")
    for stage, product in (("autoencoder", "models/autoencoder"), ("diffusion", "models/diffusion")):
        lines = []
        for step in range(0, steps, 2):
            point = {"step": step, "loss": float(np.exp(-step / 60) + 0.05 + 0.03 * rng.random()), "lr": 1e-3}
            point["mask_loss"] = 2 * point["loss"]
            if step % 40 == 0:
                point["validation_loss"] = 1.1 * point["loss"]
            lines.append(json.dumps(point))
        publish_bytes(run.root / "logs" / f"{stage}.curve.jsonl", "\n".join(lines).encode())
        publish_bytes(run.root / product / "config.json", b"{}")
        publish(run, stage, product, {"loss": 0.0625, "parameters": 1234567, "parts": {"unet": [1, 2, 3]}})
