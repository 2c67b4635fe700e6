"""The painters behind `astro_dist.flare.sample.DiffusionModel`: one takes a text, the other a class.

Shape letters: B batch, P planes, S side in pixels, T tokens, d and N as in `astro_dist.models.painter`.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.foreign import expand_home, read_mapping
from astro_dist.flare.artists import Streams
from astro_dist.flare.painter_folder import check_parts, check_weights, find_prompt_folder
from astro_dist.flare.painter_trainings import require_transformers
from astro_dist.models.class_painter import ClassBrush, ClassPainter
from astro_dist.models.denoiser import load_scheduler
from astro_dist.models.painter import load_painter
from astro_dist.models.painting import Brush

SOLVER: Literal["dpm++"] = "dpm++"
PROMPT_GUIDANCE, CLASS_GUIDANCE = 5.0, 3.0
"""Strengths of the guidance where none is given."""


class Hand(Protocol):
    """A painter with solver and guidance; picture i follows from what is given and stream i alone."""

    planes: int
    size_pix: int
    device: torch.device

    def draw(self, text: str, streams: Streams) -> Tensor:
        """Return pictures of a text, (B, P, S, S) in network range; raise `ConfigError` for others."""
        ...

    def change(self, x_BPSS: Tensor, streams: Streams, strength: float | None) -> Tensor:
        """Return variants of pictures; ``strength`` is that of the noise, None for the painter's own way."""
        ...


class PromptHand:
    """A UniDiffuser."""

    def __init__(self, folder: Path, device: str, steps: int, guidance: float) -> None:
        require_transformers()
        check_parts(folder)
        check_weights(folder)
        self.painter = load_painter(folder).to(device)
        self.brush = Brush(self.painter, SOLVER, steps, 0.0, guidance)
        self.planes, self.size_pix = self.painter.planes, self.painter.size_pix
        self.device = torch.device(self.brush.device)

    def draw(self, text: str, streams: Streams) -> Tensor:
        """Return pictures of a prompt, which must not be longer than the text encoder takes."""
        most = self.painter.text_shape[0]
        if (count := len(self.painter.clip_tokenizer(text).input_ids)) > most:
            raise ConfigError(
                f"the prompt has {count} tokens, and the text encoder takes {most}; make it shorter"
            )
        return self._paint([text] * len(streams), streams, None, 1.0)

    def change(self, x_BPSS: Tensor, streams: Streams, strength: float | None) -> Tensor:
        """Return variants by the picture's caption alone, or with noise too."""
        vector_BN = self.painter.encode_pictures(x_BPSS)
        captions = self.painter.write_captions(self.brush.describe(vector_BN, streams))
        noised = (None, 1.0) if strength is None else (vector_BN, strength)
        return self._paint(captions, streams, *noised)

    def _paint(
        self, texts: Sequence[str], streams: Streams, vector_BN: Tensor | None, strength: float
    ) -> Tensor:
        text_BTd = self.painter.encode_prompts(self.painter.tokenize(list(texts)).to(self.device))
        return self.painter.decode_pictures(self.brush.paint(text_BTd, streams, vector_BN, strength))


class ClassHand:
    """A painter of classes."""

    def __init__(self, folder: Path, device: str, steps: int, guidance: float) -> None:
        painter = _open_painter(folder)
        self.labels, self.nothing = list(painter.config.labels), painter.nothing
        self.planes, self.size_pix = int(painter.config.planes), int(painter.config.size_pix)
        self.device = torch.device(device)
        self.brush = ClassBrush(painter.to(device), load_scheduler(folder), SOLVER, steps, 0.0, guidance)

    def draw(self, text: str, streams: Streams) -> Tensor:
        """Return pictures of the class that a text names."""
        return self.brush.paint(self._tell(find_class(text, self.labels), streams), streams)

    def change(self, x_BPSS: Tensor, streams: Streams, strength: float | None) -> Tensor:
        """Return variants by noise, with the input that stands for no class."""
        if strength is None:
            raise ConfigError(
                "this painter writes no captions and makes variants by noise alone; give a strength up to 1"
            )
        return self.brush.paint(self._tell(self.nothing, streams), streams, x_BPSS, strength)

    def _tell(self, label: int, streams: Streams) -> Tensor:
        return torch.full((len(streams),), label, dtype=torch.int64, device=self.device)


def open_hand(path: str, steps: int, guidance: float | None) -> Hand:
    """Return the painter of a path, on the GPU where there is one.

    Raises
    ------
    ConfigError
        There is none, or it cannot be loaded.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if (folder := find_class_folder(path)) is not None:
        return ClassHand(folder, device, steps, CLASS_GUIDANCE if guidance is None else guidance)
    if (found := find_prompt_folder(path)) is None:
        raise ConfigError(
            f"{path}: there is no painter; give the folder of one, a run that trained one, or the name flare "
            "for that of the package"
        )
    return PromptHand(found, device, steps, PROMPT_GUIDANCE if guidance is None else guidance)


def find_class_folder(path: str) -> Path | None:
    """Return the folder of a painter of classes, which a path or a run has; None for none."""
    folder = expand_home(path)
    found = (one for one in (folder / "models" / "diffusion", folder) if (one / "scheduler").is_dir())
    return next((one for one in found if (one / "config.json").is_file()), None)


def find_class(text: str, labels: Sequence[str]) -> int:
    """Return the number of the class that a text names, as a whole or among other words.

    Raises
    ------
    ConfigError
        It names none, or several.
    """
    named = [i for i, label in enumerate(labels) if has_words(text, label)]
    # A planetary nebula is a nebula too by its words.
    longest = [i for i in named if not any(i != k and _words(labels[i]) in _words(labels[k]) for k in named)]
    if len(longest) != 1:
        how = "several" if longest else "none"
        raise ConfigError(f"the prompt names {how} of the painter's classes; name one of {', '.join(labels)}")
    return longest[0]


def has_words(text: str, name: str) -> bool:
    """Return whether the words of a name stand in a text, one after the other."""
    return f" {_words(name)} " in f" {_words(text)} "


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower().replace("_", " ")))


def _open_painter(folder: Path) -> ClassPainter:
    """Load a painter of classes from a folder of the user's."""
    try:
        if read_mapping(folder / "config.json").get("_class_name") != ClassPainter.__name__:
            raise ConfigError("its config.json is not that of a painter of classes")
        loaded: Any = ClassPainter.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except (ConfigError, OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{folder} cannot be loaded: {reason}; take the folder of a run") from None
    painter: ClassPainter = loaded[0].eval()
    if missing := sorted(loaded[1]["missing_keys"]):
        raise ConfigError(f"{folder} has no weights {missing[0]}; take the folder of a run")
    return painter
