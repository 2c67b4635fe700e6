"""The nine parts of a painter in `UniDiffuserPipeline`'s layout: built, loaded, saved, called.

API: ``build_vae(preset, planes)``, ``build_encoders(preset, planes, size_pix)``, ``build_decoder(preset)``,
``build_uvit(preset, size_pix)``, ``build_scheduler(preset)``; ``load_painter(folder)`` -> `Painter` on the
CPU in evaluation mode; ``write_index(folder)`` completes a folder whose parts are saved, so that plain
diffusers loads it. `Painter` encodes prompts and pictures, decodes latents and captions, and predicts noise.

Latents of one picture are one vector, as in the pipeline: the autoencoder's latent, then the image embedding.

Shape letters: B batch, P planes, S side of a picture in pixels, C h w latent, D image embedding, N numbers
of the image vector C h w + D, T tokens of a prompt, H hidden and d diffused numbers per token, L tokens of a
caption.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional

from astro_dist.engine.errors import ConfigError
from astro_dist.models.diffusers_types import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    UniDiffuserModel,
    UniDiffuserTextDecoder,
)
from astro_dist.models.painter_layout import INDEX, PARTS, part_folder
from astro_dist.models.painter_presets import CAPTION_TOKENS, PAINTERS
from astro_dist.models.tokens import build_caption_tokenizer, build_prompt_tokenizer

TIMES = 1000
"""Times of a noise schedule, T of Ho et al. 2020."""
LEFT = 0.004
HEAD = "transformer.lm_head.weight"
"""The tensor of the caption decoder that a file may leave out, as a copy of the table of its tokens."""
hub: Any = transformers
"""transformers without its types, which are incomplete."""
# Progress bars, and advice on ids that the decoder of captions passes to nobody.
hub.utils.logging.disable_progress_bar()
hub.utils.logging.set_verbosity_error()


def build_vae(preset: str, planes: int) -> AutoencoderKL:
    """Return an untrained autoencoder of pictures with ``planes`` planes."""
    # The factor stays 1 until a training has measured the deviation of its latents.
    return AutoencoderKL(**PAINTERS[preset].vae, in_channels=planes, out_channels=planes, scaling_factor=1.0)


def build_encoders(
    preset: str, planes: int, size_pix: int, texts: Sequence[str] = ()
) -> tuple[Any, Any, Any, Any]:
    """Return untrained text and image encoder, the tokenizer of prompts, and the processor of pictures.

    Words of ``texts`` are one token each.
    """
    sizes = PAINTERS[preset]
    tokenizer = build_prompt_tokenizer(sizes.text_tokens, texts)
    text = hub.CLIPTextConfig(
        **sizes.text,
        vocab_size=len(tokenizer),
        max_position_embeddings=sizes.text_tokens,
        projection_dim=sizes.image_dim,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    image = hub.CLIPVisionConfig(
        **sizes.image, num_channels=planes, image_size=size_pix, projection_dim=sizes.image_dim
    )
    side = {"height": size_pix, "width": size_pix}
    # Mean and deviation of a half bring 0..255 to the network range -1..1.
    processor = hub.CLIPImageProcessorPil(
        size=side, crop_size=side, image_mean=[0.5] * planes, image_std=[0.5] * planes,
        do_convert_rgb=planes == 3,
    )  # fmt: skip
    return hub.CLIPTextModel(text), hub.CLIPVisionModelWithProjection(image), tokenizer, processor


def build_decoder(preset: str, texts: Sequence[str] = ()) -> tuple[Any, Any]:
    """Return the untrained decoder of captions and its tokenizer; words of ``texts`` are one token each."""
    sizes, tokenizer = PAINTERS[preset], build_caption_tokenizer(texts)
    decoder = UniDiffuserTextDecoder(
        prefix_length=sizes.text_tokens,
        prefix_inner_dim=sizes.text["hidden_size"],
        prefix_hidden_dim=sizes.text_dim,
        vocab_size=len(tokenizer),
        **sizes.decoder,
    )
    # Rows at right angles keep the unit variance of the text encoder's last normalisation, which the noise of
    # the diffusion over texts is compared with.
    nn.init.orthogonal_(decoder.encode_prefix.weight)
    nn.init.zeros_(decoder.encode_prefix.bias)
    return untie(decoder), tokenizer


def untie(decoder: Any) -> Any:
    """Give the decoder's head weights of its own and return the decoder.

    Safetensors refuses two names of one tensor, so that a decoder whose head is the table of its tokens could
    not be saved.
    """
    head, table = decoder.transformer.lm_head, decoder.transformer.transformer.wte
    if head.weight.data_ptr() == table.weight.data_ptr():
        head.weight = nn.Parameter(table.weight.detach().clone())
    decoder.transformer.config.tie_word_embeddings = False
    return decoder


def build_uvit(preset: str, size_pix: int) -> Any:
    """Return the untrained network of joint noise prediction for pictures of ``size_pix`` pixels a side."""
    sizes = PAINTERS[preset]
    return UniDiffuserModel(
        **sizes.unet,
        text_dim=sizes.text_dim,
        clip_img_dim=sizes.image_dim,
        num_text_tokens=sizes.text_tokens,
        in_channels=sizes.vae["latent_channels"],
        out_channels=sizes.vae["latent_channels"],
        sample_size=size_pix // sizes.factor,
        attention_bias=False,
        norm_type="layer_norm",
    )


def build_scheduler(preset: str) -> DPMSolverMultistepScheduler:
    """Return the noise schedule of a preset."""
    given = PAINTERS[preset].schedule
    betas = dict(given) if given else {"trained_betas": cosine_betas(TIMES)}
    return DPMSolverMultistepScheduler(**betas, num_train_timesteps=TIMES, timestep_spacing="trailing")


def cosine_betas(count: int) -> list[float]:
    """Return the betas of a cosine schedule that ends with `LEFT` of the variance of the clean sample.

    In the cosine of Nichol & Dhariwal 2021 (eq. 17) small pictures are lost later than in schedules made for
    large ones. It ends at nothing, where the noise says nothing of the clean sample: the first step of a
    solver would divide by zero.
    """
    place = (np.arange(count + 1) / count + 0.008) / 1.008
    left = np.cos(place * np.pi / 2) ** 2
    alpha_bar = LEFT + (1 - LEFT) * left / left[0]
    # Eight digits, so that the file does not depend on the last bits of a cosine.
    return [float(f"{beta:.8g}") for beta in 1 - alpha_bar[1:] / alpha_bar[:-1]]


def tokenize(tokenizer: Any, length: int, prompts: Sequence[str]) -> Tensor:
    """Return the tokens (B, T) of prompts, filled up and, where they are too long, cut off."""
    options = {"padding": "max_length", "max_length": length, "truncation": True, "return_tensors": "pt"}
    ids: Tensor = tokenizer(list(prompts), **options).input_ids
    return ids


def write_index(folder: Path) -> None:
    """Write the index by which diffusers loads the parts in a folder."""
    index = {"_class_name": "UniDiffuserPipeline", **{name: list(kind) for name, kind in PARTS.items()}}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


@dataclass(frozen=True, eq=False)
class Painter:
    """The networks of a painter and what belongs to them.

    Attributes
    ----------
    vae, text_encoder, image_encoder, text_decoder, unet
        The networks.
    clip_tokenizer, text_tokenizer
        Tokenizers of prompts and of captions.
    processor
        Side in pixels, mean and deviation of the image encoder's input.
    scheduler
        The noise schedule.
    """

    vae: Any
    text_encoder: Any
    image_encoder: Any
    text_decoder: Any
    unet: Any
    clip_tokenizer: Any
    text_tokenizer: Any
    processor: Any
    scheduler: DPMSolverMultistepScheduler

    @property
    def size_pix(self) -> int:
        """Side of the pictures."""
        return int(self.unet.config.sample_size) * int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def planes(self) -> int:
        """Planes of the pictures."""
        return int(self.vae.config.in_channels)

    @property
    def text_shape(self) -> tuple[int, int]:
        """Shape (T, d) of the diffused text."""
        return int(self.unet.config.num_text_tokens), int(self.unet.config.text_dim)

    @property
    def image_numbers(self) -> int:
        """Length N of the vector of a picture."""
        config = self.unet.config
        return int(config.in_channels * config.sample_size**2 + config.clip_img_dim)

    @property
    def last_time(self) -> int:
        """Time at which nothing is left but noise."""
        return len(self.scheduler.betas)

    def to(self, device: str) -> "Painter":
        """Move the networks to a device."""
        for network in (self.vae, self.text_encoder, self.image_encoder, self.text_decoder, self.unet):
            network.to(device)
        return self

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Return the tokens (B, T) of prompts, filled up and, where they are too long, cut off."""
        return tokenize(self.clip_tokenizer, self.text_encoder.config.max_position_embeddings, prompts)

    def encode_prompts(self, ids_BT: Tensor) -> Tensor:
        """Return the diffused form (B, T, d) of prompts."""
        hidden_BTH = self.text_encoder(ids_BT)[0]
        text_BTd: Tensor = self.text_decoder.encode(hidden_BTH)
        return text_BTd.float()

    def encode_pictures(self, x_BPSS: Tensor) -> Tensor:
        """Return the vectors (B, N) of pictures in network range."""
        mean_BChw = self.vae.encode(x_BPSS).latent_dist.mode().float()
        latent_BChw = mean_BChw * self.vae.config.scaling_factor
        embedding_BD = self.image_encoder(self._prepare(x_BPSS)).image_embeds.float()
        return torch.cat([latent_BChw.flatten(1), embedding_BD], 1)

    def decode_pictures(self, vector_BN: Tensor) -> Tensor:
        """Return the pictures (B, P, S, S) in network range, unclipped, of their vectors."""
        latent_BChw = self.split(vector_BN)[0]
        x_BPSS: Tensor = self.vae.decode(latent_BChw / self.vae.config.scaling_factor).sample
        return x_BPSS.float()

    def split(self, vector_BN: Tensor) -> tuple[Tensor, Tensor]:
        """Return latent (B, C, h, w) and embedding (B, 1, D) of the vectors of pictures."""
        config = self.unet.config
        place = self.image_numbers - config.clip_img_dim
        latent_BM, embedding_BD = vector_BN[:, :place], vector_BN[:, place:]
        side = config.sample_size
        return latent_BM.reshape(-1, config.in_channels, side, side), embedding_BD[:, None]

    def predict(
        self,
        vector_BN: Tensor,
        text_BTd: Tensor,
        image_time_B: Tensor,
        text_time_B: Tensor,
        network: Any = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the noise in the vectors of pictures (B, N) and in the texts (B, T, d), float32.

        Eq. 2 of FLARE: one network predicts the noise of picture and text together, each at its own time.
        Time 0 says that there is no noise, `last_time` that there is nothing else. ``network`` is by default
        the painter's own.
        """
        latent_BChw, embedding_B1D = self.split(vector_BN)
        found = (network or self.unet)(latent_BChw, embedding_B1D, text_BTd, image_time_B, text_time_B)
        return torch.cat([found[0].flatten(1), found[1].flatten(1)], 1).float(), found[2].float()

    def write_captions(self, text_BTd: Tensor) -> list[str]:
        """Return the texts of their diffused form: at each place the likeliest token.

        diffusers searches with five beams, one text at a time; a batch of the likeliest tokens costs a
        hundredth of that.
        """
        decoder, end = self.text_decoder, self.text_tokenizer.eos_token_id
        given, ids_BL = decoder.decode_prefix(text_BTd), torch.empty(len(text_BTd), 0, dtype=torch.long)
        # A batch is done when each text has its end; what follows an end is cut off below.
        while ids_BL.shape[1] < CAPTION_TOKENS and not bool((ids_BL == end).any(1).all()):
            token_B1 = decoder.transformer(inputs_embeds=given).logits[:, -1:].argmax(-1)
            ids_BL = torch.cat([ids_BL, token_B1.cpu()], 1)
            given = torch.cat([given, decoder.transformer.transformer.wte(token_B1)], 1)
        rows = [row[: row.index(end)] if end in row else row for row in ids_BL.tolist()]
        return [str(self.text_tokenizer.decode(row)) for row in rows]

    def _prepare(self, x_BPSS: Tensor) -> Tensor:
        """Return pictures in network range as the image encoder wants them."""
        side, channels = self.image_encoder.config.image_size, self.image_encoder.config.num_channels
        if x_BPSS.shape[1] != channels:
            x_BPSS = x_BPSS.mean(1, keepdim=True).expand(-1, channels, -1, -1)
        if x_BPSS.shape[-1] != side:
            x_BPSS = functional.interpolate(x_BPSS, (side, side), mode="bicubic", antialias=True)
        mean, std = (
            torch.tensor(getattr(self.processor, name), device=x_BPSS.device)[:, None, None]
            for name in ("image_mean", "image_std")
        )
        # The processor's mean and deviation are of numbers from 0 to 1.
        return ((x_BPSS.clamp(-1, 1) + 1) / 2 - mean) / std


def assemble(folders: Mapping[str, Path], unet: Any = None, scheduler: Any = None) -> Painter:
    """Load a painter from the folders of its parts, without any download; what is given is not loaded.

    Raises
    ------
    ConfigError
        A network lacks a tensor, which the libraries would leave at random numbers; the message names it.
    """
    local: dict[str, Any] = {"local_files_only": True}
    return Painter(
        vae=load_network(AutoencoderKL, folders["vae"]),
        text_encoder=load_network(hub.CLIPTextModel, folders["text_encoder"]),
        image_encoder=load_network(hub.CLIPVisionModelWithProjection, folders["image_encoder"]),
        text_decoder=load_decoder(folders["text_decoder"]),
        unet=load_network(UniDiffuserModel, folders["unet"]) if unet is None else unet,
        clip_tokenizer=hub.CLIPTokenizer.from_pretrained(folders["clip_tokenizer"], **local),
        text_tokenizer=hub.GPT2Tokenizer.from_pretrained(folders["text_tokenizer"], **local),
        processor=hub.CLIPImageProcessorPil.from_pretrained(folders["clip_image_processor"], **local),
        scheduler=scheduler or DPMSolverMultistepScheduler.from_pretrained(folders["scheduler"], **local),
    )


def load_network(kind: Any, folder: Path, may_lack: str | None = None) -> Any:
    """Load a part of a painter whose file has every tensor, but for one that the caller fills."""
    # Safetensors only: the older `.bin` files are pickles, which run code when they are loaded.
    made, found = kind.from_pretrained(
        folder, output_loading_info=True, use_safetensors=True, local_files_only=True
    )
    if lost := set(found["missing_keys"]) - {may_lack}:
        raise ConfigError(
            f"{folder}: {min(lost)} is missing and would be random numbers; "
            "give whole weights, or another version of transformers, which may call it otherwise"
        )
    return made.eval()


def load_decoder(folder: Path) -> Any:
    """Load the decoder of captions, also one whose head and table of tokens are stored once."""
    decoder = untie(load_network(UniDiffuserTextDecoder, folder, may_lack=HEAD))
    if not has_head(folder):
        # diffusers leaves such a head at random numbers.
        table = decoder.transformer.transformer.wte.weight
        decoder.transformer.lm_head.weight = nn.Parameter(table.detach().clone())
    return decoder


def has_head(folder: Path) -> bool:
    """Return whether a decoder of captions is stored with the weights of its head."""
    names: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            names |= set(file.keys())
    return HEAD in names


def load_painter(folder: Path) -> Painter:
    """Load a painter from a folder in `UniDiffuserPipeline`'s layout; one part may have its former name."""
    return assemble({name: part_folder(folder, name) for name in PARTS})
