"""The parts of a painter's folder, as `UniDiffuserPipeline` has them; imports no torch."""

from pathlib import Path

INDEX = "model_index.json"
PARTS: dict[str, tuple[str, str]] = {
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "image_encoder": ("transformers", "CLIPVisionModelWithProjection"),
    # Not CLIPImageProcessor: without torchvision that one replaces itself, with a notice.
    "clip_image_processor": ("transformers", "CLIPImageProcessorPil"),
    "clip_tokenizer": ("transformers", "CLIPTokenizer"),
    # Published indices name the library `unidiffuser`, which diffusers no longer finds.
    "text_decoder": ("diffusers", "UniDiffuserTextDecoder"),
    "text_tokenizer": ("transformers", "GPT2Tokenizer"),
    "unet": ("diffusers", "UniDiffuserModel"),
    "scheduler": ("diffusers", "DPMSolverMultistepScheduler"),
}
"""Library and class of each part, as the index names them."""
CONFIGS = {
    **dict.fromkeys(PARTS, "config.json"),
    "clip_image_processor": "preprocessor_config.json",
    "clip_tokenizer": "tokenizer_config.json",
    "text_tokenizer": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
}
"""The file that describes each part."""
NETWORKS = ("vae", "text_encoder", "image_encoder", "text_decoder", "unet")
FORMER = {"clip_image_processor": "image_processor"}
"""Parts that published folders have under another name than diffusers' own class asks for."""


def part_folder(folder: Path, name: str) -> Path:
    """Return the folder of a part, also where it has its former name."""
    former = folder / FORMER.get(name, name)
    return former if not (folder / name).is_dir() and former.is_dir() else folder / name
