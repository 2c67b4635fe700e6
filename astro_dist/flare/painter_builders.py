"""What the painter's recipes are built from: objectives and samples."""

from collections.abc import Callable

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.outputs import check_product
from astro_dist.flare.painter_config import (
    CaptionerConfig,
    ClipConfig,
    PainterTrainingConfig,
    PromptsConfig,
    UnidiffuserConfig,
    VaeConfig,
)
from astro_dist.flare.painter_folder import find_folder, part_folders
from astro_dist.flare.painter_objectives import (
    CaptionerObjective,
    ClipObjective,
    UnidiffuserObjective,
    VaeObjective,
)
from astro_dist.flare.painter_samples import PictureData
from astro_dist.models.painter import assemble, build_scheduler, build_uvit, hub
from astro_dist.models.painter_presets import PAINTERS
from astro_dist.store.reader import StoreReader
from astro_dist.train.recipe import Built, Cell, Objective


def build_vae(cell: Cell, device: str) -> Built:
    """Return objective and samples of the autoencoder."""
    config, reader = cell.config, _open(cell)
    assert isinstance(config, VaeConfig)
    objective = VaeObjective(config, reader.attrs["planes"])
    sizes, side = PAINTERS[config.preset], int(reader.attrs["size_pix"])
    numbers = int(sizes.vae["latent_channels"]) * (side // sizes.factor) ** 2
    return _with_samples(cell, reader, objective, numbers)


def build_clip(cell: Cell, device: str) -> Built:
    """Return objective and samples of text and image encoder."""
    config, reader = cell.config, _open(cell)
    assert isinstance(config, ClipConfig)
    attrs, prompts = reader.attrs, list_prompts(cell, reader)
    templates = len(cell.run.section(PromptsConfig).templates)
    objective = ClipObjective(config, attrs["planes"], attrs["size_pix"], prompts, templates)
    _refuse_cut(objective.tokenizer, prompts, PAINTERS[config.preset].text_tokens)
    return _with_samples(cell, reader, objective)


def build_captioner(cell: Cell, device: str) -> Built:
    """Return objective and samples of the decoder of captions."""
    config, reader = cell.config, _open(cell)
    assert isinstance(config, CaptionerConfig)
    check_product(cell.run.root, "clip")
    folder = cell.run.product("models/clip")
    text = hub.CLIPTextModel.from_pretrained(folder / "text_encoder", local_files_only=True)
    tokenizer = hub.CLIPTokenizer.from_pretrained(folder / "clip_tokenizer", local_files_only=True)
    objective = CaptionerObjective(config, text, tokenizer, list_prompts(cell, reader), device)
    sizes = PAINTERS[config.preset]
    return _with_samples(cell, reader, objective, sizes.text_tokens * sizes.text_dim)


def build_unidiffuser(cell: Cell, device: str) -> Built:
    """Return objective and samples of the network of joint noise prediction."""
    config, reader = cell.config, _open(cell)
    assert isinstance(config, UnidiffuserConfig)
    folder = find_folder(config)
    parts = part_folders(cell.run.product("models"), folder)
    if folder is None:
        # Also where a training goes on from a checkpoint.
        for stage in ("vae", "clip", "captioner"):
            check_product(cell.run.root, stage)
        unet = build_uvit(config.preset, int(reader.attrs["size_pix"]))
        painter = assemble(parts, unet, build_scheduler(config.preset))
    else:
        painter = assemble({**parts, "unet": folder / "unet"})
    origin = None if folder is None else folder / "unet"
    objective = UnidiffuserObjective(config, painter, parts, origin, list_prompts(cell, reader), device)
    tokens, numbers = painter.text_shape
    return _with_samples(cell, reader, objective, painter.image_numbers + tokens * numbers)


def list_prompts(cell: Cell, reader: StoreReader) -> list[str]:
    """Return the prompts of all classes, class after class."""
    prompts = cell.run.section(PromptsConfig)
    return [prompt for label in reader.attrs["labels"] for prompt in prompts.fill(label)]


def _open(cell: Cell) -> StoreReader:
    return StoreReader(cell.run.product("pictures.zarr"))


def _with_samples(cell: Cell, reader: StoreReader, objective: Objective, noise: int = 0) -> Built:
    """Return an objective with samples of the train split, and of the validation split unless it is empty."""
    config, key = cell.config, (cell.run.seed, *cell.key)
    assert isinstance(config, PainterTrainingConfig)
    templates = len(cell.run.section(PromptsConfig).templates)
    make: Callable[[str], PictureData] = lambda split: PictureData(  # noqa: E731
        reader, config, key, templates, noise, split
    )
    return objective, make("train"), make("validation") if len(reader.select("validation")) else None


def _refuse_cut(tokenizer: object, prompts: list[str], most: int) -> None:
    """Refuse prompts that the text encoder would see in part only."""
    for prompt in prompts:
        if (count := len(tokenizer(prompt).input_ids)) > most:  # type: ignore[operator]
            raise ConfigError(
                f"prompts.templates: {prompt!r} has {count} tokens, and the text encoder takes {most}; make "
                "it shorter, or choose a larger clip.preset"
            )
