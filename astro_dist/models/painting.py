"""Drawing pictures and texts with a painter: text to picture, picture to text, picture to changed picture.

API: ``Brush(painter, solver, steps, eta, guidance)``; ``paint(text_BTd, streams)`` -> vectors (B, N) of
pictures; ``paint(text_BTd, streams, vector_BN, strength)`` changes pictures; ``describe(vector_BN, streams)``
-> texts (B, T, d). Encoding and decoding is `painter.Painter`'s.

All noise of a picture comes from its own stream, that of the guidance too: diffusers' pipeline draws it from
one generator for the whole batch, so that a picture there depends on its companions. With a batch of fixed
shape, a picture is a function of its condition and its stream alone.

Shape letters: as in `astro_dist.models.painter`.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from astro_dist.models.painter import Painter
from astro_dist.models.solvers import Solver, SolverName

Streams = Sequence[np.random.Generator]


class Brush:
    """A painter with solver, number of steps and guidance.

    Parameters
    ----------
    painter
        The networks, on their device.
    solver, steps, eta
        As in `astro_dist.models.solvers.Solver`.
    guidance
        Factor w of classifier-free guidance, w * conditional + (1 - w) * unconditional; 1 is none.
    """

    def __init__(self, painter: Painter, solver: SolverName, steps: int, eta: float, guidance: float) -> None:
        self.painter, self.guidance = painter, guidance
        self.device = str(painter.unet.device)
        self.solver = Solver(painter.scheduler, solver, steps, eta, self.device)

    def paint(
        self, text_BTd: Tensor, streams: Streams, vector_BN: Tensor | None = None, strength: float = 1.0
    ) -> Tensor:
        """Return the vectors (B, N) of pictures of some texts; given ``vector_BN``, of changed pictures."""

        def predict(x_BN: Tensor, time: Tensor) -> Tensor:
            time_B, clean_B = self._times(time, len(x_BN)), self._times(0, len(x_BN))
            found_BN, _ = self.painter.predict(x_BN, text_BTd, time_B, clean_B)
            if self.guidance == 1:
                return found_BN
            lost_BTd = self._draw(streams, *text_BTd.shape[1:])
            last_B = self._times(self.painter.last_time, len(x_BN))
            bare_BN, _ = self.painter.predict(x_BN, lost_BTd, time_B, last_B)
            # Eq. 6 of Bao et al. 2023: what is not given is shown as pure noise at the last time.
            return self.guidance * found_BN + (1 - self.guidance) * bare_BN

        return self._solve(streams, (self.painter.image_numbers,), predict, vector_BN, strength)

    def describe(self, vector_BN: Tensor, streams: Streams) -> Tensor:
        """Return texts (B, T, d) of some pictures."""

        def predict(x_BTd: Tensor, time: Tensor) -> Tensor:
            time_B, clean_B = self._times(time, len(x_BTd)), self._times(0, len(x_BTd))
            _, found_BTd = self.painter.predict(vector_BN, x_BTd, clean_B, time_B)
            if self.guidance == 1:
                return found_BTd
            lost_BN = self._draw(streams, vector_BN.shape[1])
            last_B = self._times(self.painter.last_time, len(x_BTd))
            _, bare_BTd = self.painter.predict(lost_BN, x_BTd, last_B, time_B)
            return self.guidance * found_BTd + (1 - self.guidance) * bare_BTd

        return self._solve(streams, self.painter.text_shape, predict)

    def _solve(
        self,
        streams: Streams,
        shape: tuple[int, ...],
        predict: Callable[[Tensor, Tensor], Tensor],
        clean: Tensor | None = None,
        strength: float = 1.0,
    ) -> Tensor:
        # NumPy draws signed integers of 64 bits by default, hence seeds below 2^63.
        seeds = [int(rng.integers(2**63)) for rng in streams]
        return self.solver.solve(self._draw(streams, *shape), predict, seeds, clean, strength)

    def _draw(self, streams: Streams, *shape: int) -> Tensor:
        # By NumPy, because torch's generators give other numbers on a GPU than on a CPU.
        noise = np.stack([rng.standard_normal(shape, np.float32) for rng in streams])
        return torch.from_numpy(noise).to(self.device)

    def _times(self, time: Tensor | int, count: int) -> Tensor:
        return torch.as_tensor(time, device=self.device).expand(count)
