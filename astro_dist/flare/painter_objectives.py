"""Losses and folders of the painter's four trainings.

Shape letters: as in `astro_dist.models.painter`; Q all prompts.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from astro_dist.flare.painter_cards import write_card
from astro_dist.flare.painter_config import CaptionerConfig, ClipConfig, UnidiffuserConfig, VaeConfig
from astro_dist.flare.painter_folder import copy_parts
from astro_dist.flare.painter_samples import PictureBatch
from astro_dist.models.low_rank import add_factors, merge
from astro_dist.models.painter import (
    Painter,
    build_decoder,
    build_encoders,
    build_vae,
    has_head,
    tokenize,
    write_index,
)
from astro_dist.train.objectives import Reconstruction, to_tensors
from astro_dist.train.recipe import Figures

KEPT_VECTORS = 200_000
"""Most vectors of turned pictures that are kept; each takes 1 kB for a picture of 32 pixels."""
MOST_WEIGHT = 5.0
"""Largest weight of an error: without it, times with little picture would outweigh all others."""
IGNORED = -100
"""Token that counts for no loss, as torch has it."""


class VaeObjective:
    """Mean absolute error in network range, plus a KL divergence from N(0, 1)."""

    def __init__(self, config: VaeConfig, planes: int) -> None:
        self.config = config
        self.network = Reconstruction(build_vae(config.preset, planes))

    def loss(self, network: nn.Module, batch: PictureBatch, device: str) -> tuple[Tensor, Figures]:
        tensors = to_tensors(batch, device)
        x_BPSS = tensors["picture_BPSS"]
        output_BPSS, kl = network(x_BPSS, tensors["noise_BM"])
        error = (output_BPSS - x_BPSS).abs().mean()
        return error + self.config.kl_weight * kl, {"error": error.detach(), "kl": kl.detach()}

    def publish(self, folder: Path, batches: list[PictureBatch], device: str) -> dict[str, Any]:
        """Publish the autoencoder with the factor that brings its latents to unit deviation."""
        vae = self.network.autoencoder.eval()
        with torch.no_grad():
            pictures = (torch.from_numpy(batch.picture_BPSS).to(device) for batch in batches)
            latents = torch.cat([vae.encode(x).latent_dist.mode().float() for x in pictures])
        # Six digits, so that the factor does not depend on the last bits of a sum.
        scale = float(f"{1.0 / float(latents.double().std()):.6g}")
        vae.register_to_config(scaling_factor=scale)
        vae.save_pretrained(folder, safe_serialization=True)
        write_card(
            folder, "vae", self.config, f"* latents times `scaling_factor` {scale:g} have unit deviation\n"
        )
        return {"latent_scale": scale}


class Encoders(nn.Module):
    """Text and image encoder as one call, with the projection of texts that only their training needs."""

    def __init__(self, text: Any, image: Any, ids_QT: Tensor) -> None:
        super().__init__()
        self.text, self.image = text, image
        config = image.config
        self.projection = nn.Linear(text.config.hidden_size, config.projection_dim, bias=False)
        # Radford et al. 2021 (CLIP): a temperature of 0.07, learnt as a logarithm.
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        self.register_buffer("ids_QT", ids_QT, persistent=False)

    def forward(self, x_BPSS: Tensor) -> Tensor:
        """Return the likeness (B, Q) of pictures and all prompts."""
        image_BD = self.image(x_BPSS).image_embeds.float()
        text_QD = self.projection(self.text(self.ids_QT).pooler_output).float()
        likeness_BQ = functional.normalize(image_BD, dim=1) @ functional.normalize(text_QD, dim=1).T
        scaled_BQ: Tensor = self.log_scale.exp().clamp(max=100) * likeness_BQ
        return scaled_BQ


class ClipObjective:
    """Cross-entropy of the prompts given the picture, and of the pictures of a batch given the prompt.

    Pictures of one class share their prompts, so that all pairs of one class are right answers.
    """

    def __init__(
        self, config: ClipConfig, planes: int, size_pix: int, prompts: list[str], templates: int
    ) -> None:
        self.config, self.templates = config, templates
        text, image, self.tokenizer, self.processor = build_encoders(config.preset, planes, size_pix, prompts)
        length = text.config.max_position_embeddings
        self.network: Any = Encoders(text, image, tokenize(self.tokenizer, length, prompts))

    def loss(self, network: nn.Module, batch: PictureBatch, device: str) -> tuple[Tensor, Figures]:
        tensors = to_tensors(batch, device)
        likeness_BQ = network(tensors["picture_BPSS"])
        # Each prompt of the class is right.
        class_BK = likeness_BQ.log_softmax(1).unflatten(1, (-1, self.templates)).logsumexp(2)
        of_picture = functional.nll_loss(class_BK, tensors["label_B"])
        right_BQ = functional.one_hot(tensors["prompt_B"], likeness_BQ.shape[1]).float()
        share_BQ = right_BQ / right_BQ.sum(0).clamp(min=1)
        of_prompt = -(share_BQ * likeness_BQ.log_softmax(0)).sum() / (right_BQ.sum(0) > 0).sum()
        found_B = class_BK.argmax(1) == tensors["label_B"]
        return (of_picture + of_prompt) / 2, {"accuracy": found_B.float().mean().detach()}

    def publish(self, folder: Path, batches: list[PictureBatch], device: str) -> dict[str, Any]:
        """Publish both encoders; the embeddings of pictures are brought to unit deviation."""
        network = self.network.eval()
        with torch.no_grad():
            pictures = (torch.from_numpy(batch.picture_BPSS).to(device) for batch in batches)
            embeddings = torch.cat([network.image(x).image_embeds.float() for x in pictures])
            # The likeness is that of directions, so that a factor on the projection changes none.
            scale = float(f"{1.0 / float(embeddings.double().std()):.6g}")
            network.image.visual_projection.weight.mul_(scale)
        network.text.save_pretrained(folder / "text_encoder", safe_serialization=True)
        network.image.save_pretrained(folder / "image_encoder", safe_serialization=True)
        self.tokenizer.save_pretrained(folder / "clip_tokenizer")
        self.processor.save_pretrained(folder / "clip_image_processor")
        write_card(folder, "clip", self.config)
        return {"embedding_scale": scale}


class CaptionNetwork(nn.Module):
    """The decoder of captions as one call: encoding, noise on it, and the scores of all tokens."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, hidden_BTH: Tensor, noise_BTd: Tensor, ids_BL: Tensor) -> Tensor:
        """Return the scores (B, L, V) of the tokens of a caption."""
        prefix_BTE = self.decoder.decode_prefix(self.decoder.encode_prefix(hidden_BTH) + noise_BTd)
        gpt = self.decoder.transformer
        joined = torch.cat([prefix_BTE, gpt.transformer.wte(ids_BL)], 1)
        # The scores at a place are those of the next token.
        scores: Tensor = gpt(inputs_embeds=joined).logits[:, prefix_BTE.shape[1] - 1 : -1]
        return scores


class CaptionerObjective:
    """Cross-entropy of the tokens of a prompt given its noisy encoding."""

    def __init__(
        self, config: CaptionerConfig, text_encoder: Any, tokenizer: Any, prompts: list[str], device: str
    ) -> None:
        self.config = config
        decoder, self.tokenizer = build_decoder(config.preset, prompts)
        self.network: Any = CaptionNetwork(decoder)
        length = text_encoder.config.max_position_embeddings
        with torch.no_grad():
            hidden_QTH = text_encoder.eval()(tokenize(tokenizer, length, prompts))[0]
        self.hidden_QTH = hidden_QTH.float().to(device)
        end = self.tokenizer.eos_token_id
        rows = [[*self.tokenizer(prompt).input_ids, end] for prompt in prompts]
        longest = max(map(len, rows))
        self.ids_QL = torch.tensor([[*row, *[IGNORED] * (longest - len(row))] for row in rows], device=device)

    def loss(self, network: nn.Module, batch: PictureBatch, device: str) -> tuple[Tensor, Figures]:
        tensors = to_tensors(batch, device)
        answer_B = tensors["prompt_B"]
        hidden_BTH, ids_BL = self.hidden_QTH[answer_B], self.ids_QL[answer_B]
        noise_BTd = self.config.noise * tensors["noise_BM"].view(*hidden_BTH.shape[:2], -1)
        scores_BLV = network(hidden_BTH, noise_BTd, ids_BL.clamp(min=0))
        loss = functional.cross_entropy(scores_BLV.flatten(0, 1).float(), ids_BL.flatten())
        return loss, {}

    def publish(self, folder: Path, batches: list[PictureBatch], device: str) -> dict[str, Any]:
        self.network.decoder.save_pretrained(folder / "text_decoder", safe_serialization=True)
        self.tokenizer.save_pretrained(folder / "text_tokenizer")
        write_card(folder, "captioner", self.config)
        return {}


class UnidiffuserObjective:
    """Squared error of the noise in picture and text, each at a time of its own (eq. 2 of FLARE)."""

    def __init__(
        self,
        config: UnidiffuserConfig,
        painter: Painter,
        parts: Mapping[str, Path],
        origin: Path | None,
        prompts: list[str],
        device: str,
    ) -> None:
        # The folders of the other parts, and that of the network where it was there already.
        self.config, self.parts, self.origin = config, parts, origin
        # Beside the network and not part of it: checkpoints and averages hold none of the other parts.
        self.painter, self.network = painter.to(device), painter.unet
        # diffusers' class does not use these: without a gradient the optimiser has no state of them.
        self.network.transformer.pos_embed.requires_grad_(False)
        if config.tune == "low_rank":
            add_factors(self.network, config.rank)
        with torch.no_grad():
            self.text_QTd = painter.encode_prompts(painter.tokenize(prompts).to(device))
        self.alpha_bar_T = painter.scheduler.alphas_cumprod.to(device)
        self.vectors: dict[tuple[int, int], Tensor] = {}

    def loss(self, network: nn.Module, batch: PictureBatch, device: str) -> tuple[Tensor, Figures]:
        tensors = to_tensors(batch, device)
        vector_BN, text_BTd = self._encode(tensors), self.text_QTd[tensors["prompt_B"]]
        numbers = vector_BN.shape[1]
        noise_BN = tensors["noise_BM"][:, :numbers]
        noise_BTd = tensors["noise_BM"][:, numbers:].reshape(text_BTd.shape)
        clean = self.config.clean_picture, self.config.clean_text
        image, text = (
            self._noise(tensors["time_B2"][:, i], tensors["chance_B2"][:, i], clean[i]) for i in range(2)
        )
        found_BN, found_BTd = self.painter.predict(
            _mix(vector_BN, noise_BN, image[1]),
            _mix(text_BTd, noise_BTd, text[1]),
            image[0],
            text[0],
            network,
        )
        of_image, of_text = _error(found_BN, noise_BN, image[1]), _error(found_BTd, noise_BTd, text[1])
        figures = {"image_loss": of_image.detach(), "text_loss": of_text.detach()}
        return of_image + self.config.text_weight * of_text, figures

    def _noise(self, time_B: Tensor, chance_B: Tensor, clean: float) -> tuple[Tensor, Tensor]:
        """Return the times of samples, and how much of the clean sample's variance is left at them."""
        last, lost = len(self.alpha_bar_T), self.config.lost
        step_B = (time_B * last).long()
        left_B = self.alpha_bar_T[step_B]
        is_clean, is_lost = chance_B < clean, chance_B >= 1 - lost
        step_B = step_B.masked_fill(is_clean, 0).masked_fill(is_lost, last)
        return step_B, left_B.masked_fill(is_clean, 1.0).masked_fill(is_lost, 0.0)

    @torch.no_grad()
    def _encode(self, tensors: dict[str, Tensor]) -> Tensor:
        """Return the vectors of turned pictures, each of which is encoded once."""
        found = []
        for x_PSS, origin in zip(tensors["picture_BPSS"], tensors["origin_B2"].tolist(), strict=True):
            key = (origin[0], origin[1])
            if key not in self.vectors:
                # One at a time: the last bits may depend on the batch around, and a resumed training fills
                # its cache in other batches.
                self.vectors[key] = self.painter.encode_pictures(x_PSS[None])[0]
            found.append(self.vectors[key])
        for oldest in [*self.vectors][: max(0, len(self.vectors) - KEPT_VECTORS)]:
            del self.vectors[oldest]
        return torch.stack(found)

    def publish(self, folder: Path, batches: list[PictureBatch], device: str) -> dict[str, Any]:
        """Publish the whole painter: the trained network beside the parts it was trained with."""
        copy_parts(self.parts, folder)
        if not has_head(decoder := folder / "text_decoder"):
            _save_beside(self.painter.text_decoder, self.parts["text_decoder"], decoder)
        if "scheduler" not in self.parts:
            self.painter.scheduler.save_pretrained(folder / "scheduler")
        _save_beside(merge(self.network), self.origin, folder / "unet")
        write_index(folder)
        write_card(folder, "unidiffuser", self.config)
        return {}


def _save_beside(network: Any, origin: Path | None, folder: Path) -> None:
    """Save a network, with the settings of the folder that it was loaded from."""
    network.save_pretrained(folder, safe_serialization=True)
    if origin is not None:
        # diffusers adds the path that a network was loaded from to its settings.
        shutil.copyfile(origin / "config.json", folder / "config.json")


def _wide(values_B: Tensor, like: Tensor) -> Tensor:
    return values_B.view(-1, *[1] * (like.ndim - 1))


def _mix(clean: Tensor, noise: Tensor, left_B: Tensor) -> Tensor:
    """Return noisy samples: q(x_t | x_0), eq. 4 of Ho et al. 2020 (DDPM)."""
    left = _wide(left_B, clean)
    return left.sqrt() * clean + (1 - left).sqrt() * noise


def _error(found: Tensor, noise: Tensor, left_B: Tensor) -> Tensor:
    """Return the mean squared error over the samples that have noise at all, weighted as a velocity's."""
    # The squared error of the velocity is that of the noise over alpha_bar (Salimans & Ho 2022, section 4).
    # The shape of a picture is decided where little of it is left, and there the noise alone tells little.
    weight_B = (1 / left_B.clamp(min=1 / MOST_WEIGHT)) * (left_B < 1)
    error_B = ((found - noise) ** 2).flatten(1).mean(1)
    return (error_B * weight_B).sum() / (left_B < 1).sum().clamp(min=1)
