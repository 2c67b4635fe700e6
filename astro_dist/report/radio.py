"""The page of the pipeline `radio`, built from the published stages of a run."""

import math
import os

import numpy as np

from astro_dist.challenge.config import ChallengeConfig
from astro_dist.challenge.names import HIDDEN, VIEWER
from astro_dist.challenge.stage import PACKAGE
from astro_dist.engine.work import Run
from astro_dist.field.config import AssembleConfig
from astro_dist.report import beside, evaluation, figures, gather, images, origins, samples, tables
from astro_dist.report.book import RUN_CHAPTER, ChapterBuilder, build_chapters, is_published
from astro_dist.report.config import ReportConfig
from astro_dist.report.gather import FieldFiles
from astro_dist.report.page import Block, Link, Listing, Note, Page, Picture, Table
from astro_dist.report.style import to_svg, to_webp
from astro_dist.sky.beams import Beam
from astro_dist.sky.counts import COUNTS_HZ

HALF_IN = 6.3
OVERVIEW_SIDE_PIX, ZOOM_SIDE_PIX = 1500, 760
SQUARE_DEGREES_PER_SR = (180 / math.pi) ** 2
STRIP_TOP_SNR = 30.0
COUNTS_SAID = (
    "The curve and the small points are the published counts at 1.4 GHz (de Zotti et al. 2010), brought to "
    "the frequency of the field by the mean spectral index. "
)
NOT_COUNTS = "The fluxes of this field do not follow them: assemble.flux.mode counts does."
HOW_DRAWN = (
    "Brightness is stretched by asinh, linear over the noise; a pixel of the picture is the brightest one of "
    "its block."
)


def build_page(run: Run) -> Page:
    """Return the report of a run; any of its stages may be unpublished."""
    return Page(run.name, _summarise(run), _headline(run), build_chapters(run, CHAPTERS))


def _summarise(run: Run) -> str:
    if not is_published(run, "assemble"):
        done = [name for name in run.inputs if is_published(run, name)]
        return f"A run without a field yet; published: {', '.join(done) or 'nothing'}."
    field = FieldFiles(run.product("field"))
    ny, nx = field.map.shape
    n = f"{len(field.truth['id']):,} sources" if field.truth is not None else "sources"
    return (
        f"A synthetic radio map of {ny:,} x {nx:,} pixels with {n}, drawn by {origins.describe_model(run)}. "
        "The truth catalogue has the exact position and brightness of each source."
    )


def _headline(run: Run) -> list[tuple[str, str]]:
    if not is_published(run, "assemble"):
        return []
    field = FieldFiles(run.product("field"))
    found, (ny, nx) = field.map, field.map.shape
    dy, dx = found.pixel.dy_arcsec, found.pixel.dx_arcsec
    pixel = f"{dx:.3g} arcsec" if math.isclose(dx, dy, rel_tol=1e-3) else f"{dx:.3g} x {dy:.3g} arcsec"
    entries = [
        ("Size (rows x columns)", f"{ny:,} x {nx:,}"),
        ("Sky area", f"{field.area_sr * SQUARE_DEGREES_PER_SR:.3g} sq deg"),
        ("Pixel", pixel),
        ("Beam", _say_beam(found.beam)),
    ]
    if found.frequency_hz:
        entries.append(("Frequency", f"{found.frequency_hz / 1e6:,.5g} MHz"))
    if (truth := field.truth) is not None and len(truth["id"]):
        rms_mjy_beam = 1e3 * float(np.median(truth["sigma_jy_beam"]))
        entries.append(("Noise at the sources", f"{rms_mjy_beam:.3g} mJy/beam"))
        entries += [
            (f"{name.capitalize()} sources", f"{n:,}") for name, n in gather.count_classes(truth).items()
        ]
        entries.append((f"Above {tables.VISIBLE_SNR:g} rms", f"{tables.count_visible(truth):,}"))
        entries.append(("Distinct objects", f"{tables.count_objects(truth):,}"))
    return entries


def _say_beam(beam: Beam) -> str:
    if math.isclose(beam.major_arcsec, beam.minor_arcsec, rel_tol=1e-3):
        return f"{beam.major_arcsec:.3g} arcsec"
    return f"{beam.major_arcsec:.3g} x {beam.minor_arcsec:.3g} arcsec"


def _field_blocks(run: Run) -> list[Block]:
    field = FieldFiles(run.product("field"))
    beam, pixel = field.map.beam, field.map.pixel
    windows = field.zoom_windows(run.section(ReportConfig).zooms)
    whole = field.view(field.whole, OVERVIEW_SIDE_PIX)
    picture = to_webp(images.draw_view(whole, beam, pixel, width_in=images.WIDE_IN, boxes=windows))
    caption = f"The whole field. The frames are the views below. {HOW_DRAWN}"
    blocks: list[Block] = [*_viewer_link(run)]
    blocks += [Picture(picture, caption, "Map of the whole field on the sky", wide=True)]
    # Each view has the frame of the next one, as in figures 9 to 14 of RADiff (arXiv 2307.02392).
    inside = [*({name: window} for name, window in list(windows.items())[1:]), {}]
    # Without a window, as in a field that is smaller than any, one frame is too many.
    for (label, window), boxes in zip(windows.items(), inside, strict=False):
        # Only the closest views: further out the outlines would cover the sources.
        with_truth = label in list(windows)[-2:]
        view = field.view(window, ZOOM_SIDE_PIX, classes=with_truth)
        extent = f"{window.height:,} x {window.width:,} pixels"
        scaled = (
            "every pixel shown" if view.factor == 1 else f"blocks of {view.factor} x {view.factor} pixels"
        )
        caption = f"{label}: {extent}, {scaled}."
        caption += "".join(f" The frame is the {name} view." for name in boxes)
        picture = to_webp(images.draw_view(view, beam, pixel, width_in=HALF_IN, boxes=boxes))
        blocks.append(Picture(picture, caption, f"Map of a {label} view of the field"))
        if with_truth and view.classes is not None:
            picture = to_webp(images.draw_view(view, beam, pixel, width_in=HALF_IN, truth=True))
            caption = f"{label} with the truth: outlines of mask.fits over the same sky."
            blocks.append(Picture(picture, caption, f"Truth outlines over the {label} view"))
    return blocks + beside.build_blocks(run, field, windows)


def _viewer_link(run: Run) -> list[Block]:
    """Return the way to the viewer where the run packages its field, which it does after this page."""
    if not run.section(ChallengeConfig).enabled:
        return []
    text = "The whole map in this browser, with its truth: the viewer of the package"
    return [Link(text, f"{PACKAGE.product}/{HIDDEN}/{VIEWER}/index.html")]


def _stamp_blocks(run: Run) -> list[Block]:
    blocks: list[Block] = []
    for name, example in samples.read_examples(run, run.section(ReportConfig).examples).items():
        figure = images.draw_grid(example.masks, example.rows, top_snr=example.top_snr)
        caption = f"Stamps with {name} objects, in units of the local noise."
        blocks.append(Picture(to_webp(figure), caption, f"Grid of {name} stamps beside cutouts", wide=True))
    return blocks or [Note("No stamp holds an object.")]


def _evaluation_blocks(run: Run) -> list[Block]:
    said = [Note("What is called real here are cutouts of the simulated survey.")]
    return [*(said if origins.is_simulated(run) else []), *evaluation.build_blocks(run)]


def _training_blocks(run: Run) -> list[Block]:
    blocks: list[Block] = []
    titles = {"autoencoder": "Autoencoder", "diffusion": "Latent diffusion model"}
    for stage, title in titles.items():
        curve = gather.read_curve(run.root / "logs" / f"{stage}.curve.jsonl")
        if not curve.get("loss"):
            absent = f"no learning curve (logs/{stage}.curve.jsonl) in this directory."
            blocks.append(Note(f"{title}: {origins.describe_start(run, stage) or absent}"))
            continue
        step, last = curve["loss"][-1]
        caption = f"{title}: training loss {last:.4g} at step {step:,}"
        caption += (
            f", last validation loss {curve['validation_loss'][-1][1]:.4g}."
            if curve.get("validation_loss")
            else "."
        )
        caption += " The thin line is as measured, the thick line a running mean."
        blocks.append(Picture(to_svg(figures.plot_curve(curve)), caption, f"Learning curve of the {stage}"))
    return blocks


def _truth_blocks(run: Run) -> list[Block]:
    field = FieldFiles(run.product("field"))
    truth = field.truth
    if truth is None or not len(truth["id"]):
        return [Note("The truth catalogue is empty.")]
    names, flux = truth["class_name"], run.section(AssembleConfig).flux
    mode = flux.mode
    # Counts and catalogues give fluxes: the exponential is none of theirs.
    asked = flux if flux.mode not in ("catalogue", "counts") else None
    beam_arcsec = field.map.beam.major_arcsec
    n_clipped = int((truth["k"] >= flux.cap * (1 - 1e-6)).sum())
    remark = f" {n_clipped:,} objects are at the cap." if asked and flux.above == "clip" else ""
    remark += " The peak of a stretched shape lies below k." if flux.mode == "radiff_stretched" else ""
    k_median = float(np.median(truth["k"]))
    pictures = (
        (
            figures.plot_peaks(truth["k"], names, asked),
            f"Peak over local rms (k), median {k_median:.3g}.{remark}",
            "Histogram of k",
        ),
        (
            figures.plot_fluxes(truth["flux_jy"], truth["peak_jy_beam"], names),
            f"Integrated flux, {truth['flux_jy'].sum():.4g} Jy in all; the dashed outline is the peak. "
            "Fainter sources are counted in the first bin.",
            "Histogram of fluxes",
        ),
        (
            figures.plot_sizes(truth["major_arcsec"], names, beam_arcsec),
            f"Major axis as observed, the beam ({beam_arcsec:.3g} arcsec) included.",
            "Histogram of sizes",
        ),
        (
            figures.plot_counts(truth["flux_jy"], names, _sky_area_sr(run, field), _reference(run, field)),
            f"Differential source counts, normalised to a Euclidean universe; bars are Poisson errors. "
            f"{COUNTS_SAID if field.map.frequency_hz else ''}{'' if mode == 'counts' else NOT_COUNTS}",
            "Source counts",
        ),
    )
    table = tables.tabulate_truth(truth, samples.read_donors(run) if is_published(run, "generate") else None)
    return [table, *(Picture(to_svg(figure), caption, alt) for figure, caption, alt in pictures)]


def _sky_area_sr(run: Run, field: FieldFiles) -> float:
    """Return the solid angle of the pixels with data."""
    facts = run.facts("assemble").get("map", {})
    ny, nx = field.map.shape
    return field.area_sr * (1 - facts.get("n_blank", 0) / (ny * nx))


def _reference(run: Run, field: FieldFiles) -> figures.Reference | None:
    config = run.section(AssembleConfig)
    law = config.flux
    if field.map.frequency_hz is None:
        return None
    ratio = (field.map.frequency_hz / COUNTS_HZ) ** law.counts.spectral_index
    # The limit is one at the frequency that sources are drawn at.
    limited = law.mode == "counts" and config.seen.frequency_hz is None
    return figures.Reference(ratio, law.counts.limit_jy if limited else None)


def _rejected_blocks(run: Run) -> list[Block]:
    facts = run.facts("generate")
    rejected = {str(reason): int(n) for reason, n in facts.get("rejected", {}).items()}
    if not sum(rejected.values()):
        return [Note("No object was rejected.")]
    blocks: list[Block] = [tables.tabulate_reasons(rejected, facts.get("accepted"))]
    if "accepted_iou" in facts:
        agreement = (
            "The isophotes of the accepted objects agree with their masks to an intersection over union"
        )
        blocks.append(Note(f"{agreement} of {facts['accepted_iou']:.3g} on average."))
    shown = run.section(ReportConfig).examples
    refused = samples.read_refused(run, shown) if is_published(run, "cutouts") else None
    if refused is not None:
        figure = images.draw_strip(
            refused.image_snr, refused.outlines, refused.reasons, top_snr=STRIP_TOP_SNR
        )
        caption = "Some rejected objects as generated; the outline is the mask of the rejected object."
        blocks.append(Picture(to_webp(figure), caption, "Stamps with refused objects", wide=True))
    return blocks


def _next_blocks(run: Run) -> list[Block]:
    here = os.path.relpath(run.root)
    # A run outside this directory is named by its absolute path, which is valid anywhere.
    root = str(run.root) if here.startswith(os.pardir) else here
    folder = f"{root}/field"
    second = f"{root}-second"
    steps = {
        "Check that every file still has the bytes it was published with.": f"astro-dist verify {root}",
        "Look at the map in CARTA, or in DS9 with an ellipse per source, and at the truth in TOPCAT.": (
            f"carta {folder}/map.fits\n"
            f"ds9 -asinh -zscale {folder}/map.fits -region load {folder}/truth.reg\n"
            f"topcat {folder}/truth.vot"
        ),
        "Make a second field, with other places and fluxes, without new training or drawing.": (
            f"astro-dist fork {root} {second} --set assemble.seed={run.seed + 1}\n"
            f"astro-dist run {second}/config.yaml --out {second}"
        ),
        "Make a field like a map of your own: its header and pixels are read, and settings proposed.": (
            "astro-dist init --from MAP.fits\nastro-dist plan MAP.yaml"
        ),
        "The data challenge: 30,000 objects on 12,000 x 15,000 pixels, for a machine with a GPU.": (
            "astro-dist plan configs/data_challenge_12k.yaml\nastro-dist run configs/data_challenge_12k.yaml"
        ),
    }
    return [Listing(commands, why) for why, commands in steps.items()]


WORDS = {
    "cutout": "128 x 128 real pixels of a survey map",
    "stamp": "128 x 128 pixels that the network drew for a mask",
    "object": "one source of a stamp, cut out by its mask",
    "placement": "one object in the field: its place, turn, flux and class",
    "donor": "the cutout whose mask or background a stamp was drawn for",
    "compact, extended": "a source as wide as the beam; a wider one",
    "spurious": "brightness above the noise that is no source, such as an artefact",
    "rms, snr": "local noise; the peak of a source over it",
    "k": "the peak of a placed source over the local noise, where fluxes are drawn by it",
    "truth": "what was placed; never measured back",
    "artefact": "what calibration and cleaning leave round a bright source",
}
"""The glossary of the page."""


def _word_blocks(run: Run) -> list[Block]:
    return [Table(("word", "meaning"), list(WORDS.items()))]


CHAPTERS = (
    ChapterBuilder(
        "field",
        "The field",
        "The whole synthetic map, ever closer views of one place in it, and the truth drawn over them.",
        ("assemble",),
        _field_blocks,
    ),
    ChapterBuilder(
        "stamps",
        "Cutouts and stamps",
        "Each column has a mask (blue compact, orange extended, grey spurious), the survey's cutout with "
        "that mask, and the stamp that the network drew for it. Columns are spread evenly over all stamps.",
        ("cutouts", "generate"),
        _stamp_blocks,
    ),
    ChapterBuilder(
        "evaluation",
        "How good the model is",
        "Stamps for masks that the network was not trained on, compared with cutouts of the survey.",
        ("evaluate",),
        _evaluation_blocks,
        optional=True,
    ),
    ChapterBuilder(
        "training",
        "Training",
        "Where the weights of both networks come from: a training in this run, or weights that were there.",
        (),
        _training_blocks,
    ),
    ChapterBuilder(
        "truth",
        "The truth in numbers",
        "Distributions over the truth catalogue: values as placed, not as a finder would measure them.",
        ("assemble",),
        _truth_blocks,
    ),
    ChapterBuilder(
        "rejected",
        "Rejected objects",
        "Objects drawn by the network that did not pass the checks; they were neither counted nor placed.",
        ("generate",),
        _rejected_blocks,
    ),
    ChapterBuilder(
        "terms",
        "Data and terms",
        "The data that the networks learnt from, the terms of their use, and the works to cite.",
        (),
        origins.build_blocks,
    ),
    RUN_CHAPTER,
    ChapterBuilder("words", "Words", "What the words of this page mean.", (), _word_blocks),
    ChapterBuilder(
        "next",
        "What to do next",
        "Commands for a terminal in the directory that the run was started from.",
        (),
        _next_blocks,
    ),
)
