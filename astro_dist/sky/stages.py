"""The stages `simulate` and `annotate`; their functions are imported when they are used."""

import math
from collections.abc import Mapping

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.later import Later
from astro_dist.engine.work import Estimate, Run, Stage
from astro_dist.sky.config import AnnotateConfig, MapsConfig
from astro_dist.sky.files import annotation_sources
from astro_dist.sky.survey import BAND_ROWS, SimulateConfig

# 77 bytes of numbers, and the name of a morphology of up to 11 letters.
TRUTH_ROW_BYTES = 100
MOST_SOURCES, MOST_EXTENDED = 10_000_000, 100_000
"""Most sources of a map; the time of extended ones grows with the square of their number."""


def refuse_crowds(run: Run) -> None:
    """Refuse more sources than can be drawn."""
    config = run.section(SimulateConfig)
    for names, mean, most in (
        ("extended_per_1000_beams and shape", config.mean_extended, MOST_EXTENDED),
        ("rms_jy_beam, flux_limit_jy and shape", config.mean_sources, MOST_SOURCES),
    ):
        if not mean <= most:
            raise ConfigError(
                f"simulate: {names} ask for {mean:.3g} sources in a map, and at most {most} are drawn; "
                "ask for fewer, or for a smaller map"
            )


def estimate_simulation(run: Run) -> Estimate:
    """Return the cost of the simulated maps."""
    config = run.section(SimulateConfig)
    pixels = math.prod(config.shape) * config.maps
    mean = config.maps * config.mean_sources
    return Estimate(
        tasks=config.maps * math.ceil(config.shape[0] / BAND_ROWS),
        # Four bytes of brightness, one of mask, four of numbers. Counts are Poisson: five sigma more.
        bytes=(9 if config.instances else 5) * pixels
        + int(TRUTH_ROW_BYTES * (mean + 5 * math.sqrt(mean)))
        + 20_000 * config.maps,
        # Image, mask, instances and truth.
        files=(4 if config.instances else 3) * config.maps,
        memory_bytes=170_000_000 + 44 * min(BAND_ROWS, config.shape[0]) * config.shape[1],
        cpu_s=5e-7 * pixels,
    )


SIMULATE = Stage(
    name="simulate",
    product="maps",
    plan=Later("astro_dist.sky.simulate:plan"),
    prepare=Later("astro_dist.sky.simulate:prepare"),
    open=Later("astro_dist.sky.simulate:SimulatedMaps"),
    run=Later("astro_dist.sky.simulate:run_task"),
    seal=Later("astro_dist.sky.simulate:seal"),
    finish=Later("astro_dist.sky.simulate:finish"),
    refuse=refuse_crowds,
    estimate=estimate_simulation,
    sections=("simulate",),
    own="simulate",
)


def refuse_maps(run: Run) -> None:
    """Refuse map files that cannot be used, see `SkyMap.open`; maps still to be simulated are not opened.

    So are files that say which islands belong together, see `astro_dist.sky.given`.
    """
    if run.section(MapsConfig).files:
        from astro_dist.sky.given import check_given
        from astro_dist.sky.maps import open_maps
        from astro_dist.sky.noise_maps import check_noise, open_noise

        maps = open_maps(run)
        check_noise(open_noise(run, maps))
        check_given(run.section(AnnotateConfig).join, maps)
        if run.section(AnnotateConfig).expert is not None:
            from astro_dist.sky.expert import read_edits

            # Read once more by the run: what a label says is found before anything has run.
            for read in read_edits(run, maps).values():
                read()


def _note_unknown(frequencies_hz: Mapping[str, float | None]) -> tuple[str, ...]:
    """Return the sentence that says which maps, by name, have no frequency."""
    unknown = [name for name, frequency_hz in frequencies_hz.items() if frequency_hz is None]
    if not unknown:
        return ()
    more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    return (
        f"no frequency in the header of {unknown[0]}{more}: models take 1.4 GHz for it; give it as "
        "maps.frequency_hz",
    )


def _note_assumed(notes: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return what was assumed of the headers of maps, by name, each sentence once."""
    names: dict[str, list[str]] = {}
    for name, texts in notes.items():
        for text in texts:
            names.setdefault(text, []).append(name)
    return tuple(
        f"{own[0]}{f' and {len(own) - 1} more' if len(own) > 1 else ''}: {text}"
        for text, own in names.items()
    )


def estimate_annotation(run: Run) -> Estimate:
    """Return the cost of the search for islands."""
    config, exact = run.section(AnnotateConfig), bool(run.section(MapsConfig).files)
    notes: tuple[str, ...] = ()
    packed: list[int] = []
    if exact:
        from astro_dist.sky.annotate import cut_maps
        from astro_dist.sky.map_files import RECORD_BYTES
        from astro_dist.sky.maps import open_maps

        maps = open_maps(run)
        packed = [one.unpacked_bytes + RECORD_BYTES for one in maps if one.unpacked_bytes]
        cuts, n_pix = len(cut_maps(maps, config)), sum(math.prod(one.shape) for one in maps)
        notes = _note_unknown({one.name: one.frequency_hz for one in maps if not one.background_only})
        notes += _note_assumed({one.name: one.notes for one in maps})
    else:
        sky = run.section(SimulateConfig)
        n_pix = math.prod(sky.shape) * sky.maps
        cuts = math.ceil(n_pix / (config.task_mpix * 1e6))
    # At most every tenth pixel belongs to an island; tables of a task and of the product exist together.
    return Estimate(
        tasks=2 * cuts,
        # What is packed with gzip is unpacked once for all stages, and stays with its record.
        bytes=3 * n_pix + sum(packed),
        # Two tables a cut; islands, sources, pixels, mesh, levels, measured, components and wide.fits.
        files=2 * cuts + (8 if config.joins else 4) + 2 * len(packed),
        memory_bytes=500_000_000,
        cpu_s=3e-7 * n_pix,
        exact=exact,
        notes=notes,
    )


ANNOTATE = Stage(
    name="annotate",
    product="annotations",
    plan=Later("astro_dist.sky.annotate:plan"),
    prepare=Later("astro_dist.sky.annotate:prepare"),
    open=Later("astro_dist.sky.annotate:Annotator.open"),
    run=Later("astro_dist.sky.annotate:run_task"),
    finish=Later("astro_dist.sky.annotate:finish"),
    scratch=("parts",),
    sources=annotation_sources,
    refuse=refuse_maps,
    estimate=estimate_annotation,
    sections=("annotate", "maps"),
    reads=("simulate",),
    own="annotate",
    inputs=("simulate",),
)
