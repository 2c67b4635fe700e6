"""A linear layer fitted to features: multinomial logistic regression, the same on every run.

API: ``fit_head(f_NF, label_N, classes)`` -> `LinearHead`; ``head.probabilities(f_NF)`` -> (N, K).

Shape letters: N pictures, F features, K classes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

PENALTY = 1e-3
"""Weight of the mean squared weight of a class in the loss; features have unit deviation."""
ROUNDS = 200


@dataclass(frozen=True)
class LinearHead:
    """Weights (F + 1, K) over features that are shifted and scaled; the last row is the bias."""

    shift_F: NDArray[np.float64]
    scale_F: NDArray[np.float64]
    weight_FK: NDArray[np.float64]

    def probabilities(self, f_NF: NDArray[Any]) -> NDArray[np.float32]:
        """Return the probabilities (N, K) of the classes."""
        x_NF = (f_NF - self.shift_F) / self.scale_F
        logits_NK = x_NF @ self.weight_FK[:-1] + self.weight_FK[-1]
        logits_NK -= logits_NK.max(1, keepdims=True)
        raised_NK = np.exp(logits_NK)
        return np.asarray(raised_NK / raised_NK.sum(1, keepdims=True), np.float32)


def fit_head(f_NF: NDArray[Any], label_N: NDArray[np.integer], classes: int) -> LinearHead:
    """Fit a linear layer by LBFGS from zero, in double precision."""
    f_NF = np.asarray(f_NF, np.float64)
    shift_F, scale_F = f_NF.mean(0), f_NF.std(0)
    # Constant features say nothing, and would be divided by zero.
    scale_F[scale_F == 0] = 1
    x_NF = torch.from_numpy((f_NF - shift_F) / scale_F)
    x_NF = torch.cat([x_NF, torch.ones(len(x_NF), 1, dtype=torch.float64)], 1)
    wanted_N = torch.from_numpy(np.asarray(label_N, np.int64))
    weight_FK = torch.zeros(x_NF.shape[1], classes, dtype=torch.float64, requires_grad=True)
    solver: Any = torch.optim.LBFGS([weight_FK], max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> Any:
        solver.zero_grad()
        error: Any = functional.cross_entropy(x_NF @ weight_FK, wanted_N)
        error = error + PENALTY * (weight_FK[:-1] ** 2).sum(0).mean()
        error.backward()
        return error

    solver.step(loss)
    return LinearHead(shift_F, scale_F, weight_FK.detach().numpy())
