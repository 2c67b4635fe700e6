"""A run directory with tiny stores of Gaussian stamps, and a driver that brings `assemble` to its end."""

from pathlib import Path

import numpy as np

from astro_dist.engine.config import fingerprint
from astro_dist.engine.custody import remove
from astro_dist.engine.files import publish_folder, tree_digests
from astro_dist.engine.outputs import Reading
from astro_dist.engine.rounds import Rounds
from astro_dist.engine.seeds import stream
from astro_dist.engine.work import Run, for_stage
from astro_dist.field.config import AcceptConfig, AssembleConfig
from astro_dist.field.modelling import model_objects
from astro_dist.field.object_files import write_objects
from astro_dist.field.objects import extract_objects
from astro_dist.field.stage import ASSEMBLE
from astro_dist.generate.config import GenerateConfig
from astro_dist.sky.annotate import AnnotateConfig
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.maps import MapsConfig
from astro_dist.sky.survey import SimulateConfig
from astro_dist.store.config import CutoutsConfig
from astro_dist.store.schema import STACKS, publish_store
from astro_dist.store.shards import write_shard
from astro_dist.store.stamps import objects_path, publish_stamps, write_stamps
from astro_dist.workers.attempts import SerialExecutor
from astro_dist.workers.processes import ProcessExecutor
from tests import settings

BEAM, PIXEL, RMS = Beam(8.0, 8.0, 0.0), Pixel(2.0, 2.0), 1e-4
SKY = SimulateConfig(beam_major_arcsec=8, beam_minor_arcsec=8, pixel_arcsec=2, rms_jy_beam=RMS)
SIZE = 64
SHARD = 16


def make_run(
    root: Path, *, n_stamps=24, beams=((BEAM, PIXEL),), stamp_beam=None, seed=3, name="small", **assemble
):
    """Write both stores below ``root`` and return the run with these settings of `assemble`."""
    root.mkdir(parents=True, exist_ok=True)
    sections = {
        "maps": MapsConfig(),
        "simulate": SKY,
        "annotate": AnnotateConfig(),
        "cutouts": CutoutsConfig(size_pix=SIZE),
        "generate": GenerateConfig(),
        "assemble": AssembleConfig.model_validate(assemble),
    }
    if not (root / "cutouts.zarr").exists():
        write_cutouts(root / "cutouts.zarr", beams)
        write_stamp_store(root / "stamps.zarr", n_stamps, stamp_beam or beams[0][0], beams[0][1], len(beams))
    return settings.make_run(root, ASSEMBLE, seed=seed, name=name, **sections)


def again(run: Run, **assemble) -> Run:
    """Return the run with other settings of `assemble`."""
    return for_stage(run.having(AssembleConfig.model_validate(assemble)), ASSEMBLE, fingerprint(assemble))


def write_cutouts(path: Path, beams) -> None:
    n = len(beams)
    for spec in STACKS["cutouts"]:
        write_shard(path, spec, 0, np.zeros((n, SIZE, SIZE), spec.dtype), n)
    columns = {name: np.zeros(n) for name in ("y0", "x0", "flags", "split", "n_objects", "ra_deg", "dec_deg")}
    columns |= {"source_map": np.arange(n), "background_jy_beam": np.zeros(n), "rms_jy_beam": np.full(n, RMS)}
    columns |= beam_columns([beam for beam, _ in beams])
    maps = [
        {
            "name": f"map{i}",
            "shape": [500, 500],
            "header": {},
            "beam": {"major_arcsec": b.major_arcsec, "minor_arcsec": b.minor_arcsec, "pa_deg": b.pa_deg},
            "pixel_arcsec": [p.dy_arcsec, p.dx_arcsec],
            "frequency_hz": 1.4e9,
        }
        for i, (b, p) in enumerate(beams)
    ]
    publish_store(path, "cutouts", SIZE, n, columns, {"maps": maps, "survey": "small", "stretch": "asinh"})


def beam_columns(beams):
    return {
        f"beam_{name}": np.array([getattr(beam, name) for beam in beams])
        for name in ("major_arcsec", "minor_arcsec", "pa_deg")
    }


def write_stamp_store(
    path: Path, n: int, beam: Beam, pixel: Pixel, n_maps: int, per_shard: int = SHARD
) -> None:
    """Write stamps of one compact and one double source each; every fourth has a spurious streak too."""
    made = [make_stamp(i, beam, pixel) for i in range(n)]
    accept = AcceptConfig().with_spurious()
    image, mask, instances = (np.stack(part) for part in zip(*made, strict=True))
    for shard, start in enumerate(range(0, n, per_shard)):
        part = slice(start, start + per_shard)
        write_stamps(path, shard, image[part], mask[part], instances[part], per_shard)
        numbers = range(n)[part]
        arrays = zip(numbers, image[part], mask[part], instances[part], strict=True)
        found = [
            model_objects(extract_objects(*a, RMS, beam, pixel, accept, stamp)[0], accept)[0]
            for stamp, *a in arrays
        ]
        write_objects(objects_path(path, shard), [item for items in found for item in items])
    columns = {"donor": np.arange(n) % n_maps, "background_donor": np.zeros(n), "symmetry": np.zeros(n)}
    columns |= {"rms_jy_beam": np.full(n, RMS)} | beam_columns([beam] * n)
    publish_stamps(
        path, SIZE, per_shard, columns, {"accept": AcceptConfig().model_dump(mode="json"), "maps": []}
    )


def make_stamp(index: int, beam: Beam, pixel: Pixel):
    rng = stream(1, "small stamps", index)
    y, x = np.mgrid[:SIZE, :SIZE].astype(float)
    gap, angle = rng.uniform(3, 7), rng.uniform(0, np.pi)
    dy, dx = gap * np.cos(angle), gap * np.sin(angle)
    bright = rng.uniform(20, 60)
    pieces = [
        bright * beam.profile(y - 15, x - 16 - index % 3, pixel),
        bright
        * (
            beam.profile(y - 42 - dy, x - 42 - dx, pixel)
            + 0.7 * beam.profile(y - 42 + dy, x - 42 + dx, pixel)
        ),
        np.where(index % 4 == 0, 18 * np.exp(-(((y - 44) / 2.5) ** 2) - ((x - 14) / 6) ** 2), 0),
    ]
    kinds = (SourceClass.COMPACT, SourceClass.EXTENDED, SourceClass.SPURIOUS)
    mask, instances = np.zeros((SIZE, SIZE), np.uint8), np.zeros((SIZE, SIZE), np.uint16)
    for number, (piece, kind) in enumerate(zip(pieces, kinds, strict=True), 1):
        mask[piece > 3], instances[piece > 3] = kind, number
    return (RMS * sum(pieces)).astype(np.float32), mask, instances


def assemble(run: Run, workers: int = 0, kills: int = 0) -> dict:
    """Do all of `assemble` serially, or with worker processes, and publish the field; return its facts.

    After each of the first tasks a worker is killed, until there were as many kills as asked for.
    """
    executor = ProcessExecutor(lambda stage, run: workers) if workers else SerialExecutor()
    rounds = Rounds(run, ASSEMBLE, run.fingerprint)
    with executor.crew(ASSEMBLE, run) as crew:
        results = run_tasks(rounds, crew, kills)
    ASSEMBLE.seal(run, results)
    assert Reading(run.output).find_damage(results) == set()
    facts = ASSEMBLE.finish(run, results)
    for name in ASSEMBLE.scratch:
        remove(run.output / name)
    publish_folder(run.output, run.root / "field")
    return facts


def run_tasks(rounds: Rounds, crew, kills: int = 0) -> dict:
    killed = []

    def disturb(task, result):
        if len(killed) < kills:
            seat = next(seat for seat in crew.seats if seat.process is not None and seat.process.is_alive())
            seat.process.kill()
            killed.append(task.name)

    while (now := rounds.look()).missing:
        ASSEMBLE.prepare(rounds.run)
        failures = crew.execute(now.missing, disturb)
        assert not failures, failures
    assert len(killed) == kills
    return now.results


def digests(run: Run) -> dict[str, str]:
    return tree_digests(run.root / "field")
