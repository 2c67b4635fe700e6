"""A painter of pictures of given classes: diffusion over pixels, whose network is told the class.

API: ``build_class_painter(preset, labels, planes, size_pix)``; ``load_class_painter(folder)`` ->
`ClassPainter` on the CPU in evaluation mode; ``painter(noisy_BPSS, time, label_B)`` -> the velocity. The
label ``painter.nothing`` tells no class, as classifier-free guidance needs it. `ClassBrush` draws pictures.

Shape letters: B batch, P planes, S side in pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from astro_dist.models.class_presets import CLASS_PAINTERS
from astro_dist.models.diffusers_types import (
    ConfigMixin,
    DPMSolverMultistepScheduler,
    ModelMixin,
    UNet2DModel,
    register_to_config,
)
from astro_dist.models.solvers import Solver, SolverName

Streams = Sequence[np.random.Generator]


class ClassPainter(ModelMixin, ConfigMixin):
    """A U-Net over folded pixels, with the class in the embedding of the time.

    Parameters
    ----------
    unet
        Arguments of a `UNet2DModel` without its channels, side and classes.
    labels
        Names of the classes, in the order of their numbers.
    planes, size_pix
        Planes and side of the pictures.
    fold
        Pixels of a picture per pixel of the U-Net, along each axis.
    """

    @register_to_config
    def __init__(
        self, unet: dict[str, Any], labels: list[str], planes: int, size_pix: int, fold: int
    ) -> None:
        super().__init__()
        channels = planes * fold**2
        self.drawer = UNet2DModel(
            **unet,
            in_channels=channels,
            out_channels=channels,
            sample_size=size_pix // fold,
            num_class_embeds=len(labels) + 1,
        )

    @property
    def nothing(self) -> int:
        """Label that tells no class."""
        return len(self.config.labels)

    def forward(self, noisy_BPSS: Tensor, time: Tensor, label_B: Tensor) -> Tensor:
        """Return the velocity (B, P, S, S) float32 of noisy pictures (Salimans & Ho 2022)."""
        folded = functional.pixel_unshuffle(noisy_BPSS, self.config.fold)
        found: Tensor = self.drawer(folded, time, class_labels=label_B).sample
        return functional.pixel_shuffle(found, self.config.fold).float()


class ClassBrush:
    """A painter of classes with solver, number of steps and guidance.

    All noise of a picture comes from its own stream, and with a batch of fixed shape a picture is a function
    of its class and its stream alone.

    Parameters
    ----------
    painter
        The network, on its device.
    scheduler
        The noise schedule that it was trained with.
    solver, steps, eta
        As in `astro_dist.models.solvers.Solver`.
    guidance
        Factor w of classifier-free guidance, w * conditional + (1 - w) * unconditional; 1 is none.
    """

    def __init__(
        self,
        painter: Any,
        scheduler: DPMSolverMultistepScheduler,
        solver: SolverName,
        steps: int,
        eta: float,
        guidance: float,
    ) -> None:
        self.painter, self.guidance = painter, guidance
        self.device = next(painter.parameters()).device
        self.solver = Solver(scheduler, solver, steps, eta, str(self.device))

    def paint(
        self, label_B: Tensor, streams: Streams, x_BPSS: Tensor | None = None, strength: float = 1.0
    ) -> Tensor:
        """Return pictures (B, P, S, S) of some classes, in network range, unclipped.

        Given ``x_BPSS``, these pictures are changed: see `astro_dist.models.solvers.Solver.solve`.
        """
        nothing_B = torch.full_like(label_B, self.painter.nothing)

        def predict(noisy_BPSS: Tensor, time: Tensor) -> Tensor:
            found: Tensor = self.painter(noisy_BPSS, time, label_B)
            if self.guidance == 1:
                return found
            # Eq. 6 of Ho & Salimans 2022 (classifier-free guidance).
            return self.guidance * found + (1 - self.guidance) * self.painter(noisy_BPSS, time, nothing_B)

        config = self.painter.config
        shape = config.planes, config.size_pix, config.size_pix
        # By NumPy, because torch's generators give other numbers on a GPU than on a CPU.
        noise = np.stack([rng.standard_normal(shape, np.float32) for rng in streams])
        seeds = [int(rng.integers(2**63)) for rng in streams]
        return self.solver.solve(torch.from_numpy(noise).to(self.device), predict, seeds, x_BPSS, strength)


def build_class_painter(preset: str, labels: Sequence[str], planes: int, size_pix: int) -> ClassPainter:
    """Return an untrained painter of some classes."""
    sizes = CLASS_PAINTERS[preset]
    return ClassPainter(dict(sizes.unet), list(labels), planes, size_pix, sizes.fold)


def build_class_scheduler() -> DPMSolverMultistepScheduler:
    """Return the noise schedule of painters of classes."""
    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        use_lu_lambdas=False,
    )


def load_class_painter(folder: Path) -> ClassPainter:
    """Load a painter of classes from its folder, without any download."""
    return ClassPainter.from_pretrained(folder, use_safetensors=True, local_files_only=True).eval()
