"""The stage `synthesise`, which paints pictures for the training split."""

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.later import Later
from astro_dist.engine.work import Estimate, Run, Stage, make_folder
from astro_dist.flare.painter_config import DiffusionConfig, UnidiffuserConfig
from astro_dist.flare.painter_trainings import require_transformers
from astro_dist.flare.synthesise_config import SynthesiseConfig
from astro_dist.flare.synthesise_plan import (
    DIFFUSION,
    JUDGE,
    UNIDIFFUSER,
    UPSCALER,
    is_part,
    plan,
    scale_of,
)
from astro_dist.models.class_presets import CLASS_PAINTERS
from astro_dist.models.painter_presets import PAINTERS
from astro_dist.pictures.config import PicturesConfig
from astro_dist.store.picture_stage import COLUMN_FILES, count_pictures


def refuse(run: Run) -> None:
    """Refuse to paint without the library, or to accept by a judge that there is none of."""
    if not is_part(run, DIFFUSION):
        require_transformers()
    if run.section(SynthesiseConfig).accept is not None and not is_part(run, JUDGE):
        raise ConfigError(
            "synthesise.accept: a judge says which pictures are accepted, and there is none; add a section "
            "judge, or leave accept out"
        )


def estimate(run: Run) -> Estimate:
    """Return the cost with every picture accepted at once."""
    settings, pictures = run.section(SynthesiseConfig), run.section(PicturesConfig)
    # The splits are not dealt yet; groups may shift them a little.
    share = 1 - pictures.validation_fraction - pictures.test_fraction
    n = -(-int(count_pictures(run) * share * 1000) // 1000)
    side_pix, scale = pictures.size_pix, scale_of(run)
    shard_bytes = settings.shard * settings.k * pictures.planes * (scale * side_pix) ** 2
    parameters, cost_s = _cost(run)
    # A forward pass costs a third of a training step, and presets give 64 x 64 pixels.
    call_s = cost_s / 3 * (side_pix / 64) ** 2
    tasks = -(-n // settings.shard)
    return Estimate(
        tasks=tasks,
        bytes=int(1.05 * n * settings.k * pictures.planes * (scale * side_pix) ** 2) + 100_000,
        files=tasks + 1 + COLUMN_FILES,
        memory_bytes=int(1e9 + 8 * parameters + 8 * shard_bytes),
        cpu_s=n * settings.calls * call_s,
        exact=False,
        notes=(f"{n * settings.k} synthetic pictures, {settings.k} for each of {n} training pictures",),
    )


def _cost(run: Run) -> tuple[float, float]:
    """Return numbers in the painter's network, and core-seconds of a training step per picture."""
    if is_part(run, DIFFUSION):
        return CLASS_PAINTERS[run.section(DiffusionConfig).preset].cost
    return PAINTERS[run.section(UnidiffuserConfig).preset].costs[UNIDIFFUSER]


SYNTHESISE = Stage(
    name="synthesise",
    product="synthetic.zarr",
    plan=plan,
    run=Later("astro_dist.flare.synthesise:paint_shard"),
    prepare=make_folder,
    open=Later("astro_dist.flare.synthesise:Easel"),
    finish=Later("astro_dist.flare.synthesise:finish"),
    check=Later("astro_dist.store.verify:verify_store"),
    refuse=refuse,
    estimate=estimate,
    sections=("synthesise", "prompts", "upscale"),
    reads=("pictures", UNIDIFFUSER, DIFFUSION, UPSCALER, JUDGE),
    own="synthesise",
    inputs=("pictures", UPSCALER, JUDGE, UNIDIFFUSER, DIFFUSION),
    numerics=Later("astro_dist.models.device:numerics"),
    gpu=True,
)
