"""The classes of diffusers that this room uses, with types.

diffusers declares itself typed but leaves its constructors, decorators and schedulers without types. Strict
mypy reads the signatures below instead. At run time every name is the class of diffusers itself.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any, Self, TypeVar

    from torch import Tensor, nn

    Init = TypeVar("Init", bound=Callable[..., None])

    def register_to_config(init: Init) -> Init:
        """Record the arguments of a constructor in ``config``."""

    class ConfigMixin:
        """The settings of a network or a scheduler, and its folder."""

        config: Any

        def register_to_config(self, **settings: Any) -> None: ...
        def save_pretrained(self, folder: Path, **options: Any) -> None: ...
        @classmethod
        def from_pretrained(cls, folder: Path, **options: Any) -> Self: ...

    class ModelMixin(nn.Module):
        """A network with a folder."""

        config: Any

        def save_pretrained(self, folder: Path, **options: Any) -> None: ...
        @classmethod
        def from_pretrained(cls, folder: Path, **options: Any) -> Self: ...

    class AutoencoderKL(ModelMixin):
        """The KL autoencoder."""

        def __init__(self, **settings: Any) -> None: ...
        def encode(self, x_BCHW: Tensor) -> Any: ...
        def decode(self, z_BChw: Tensor) -> Any: ...

    class UNet2DModel(ModelMixin):
        """The U-Net without cross-attention."""

        def __init__(self, **settings: Any) -> None: ...

    class UNet2DConditionModel(UNet2DModel):
        """The U-Net with cross-attention."""

    class UniDiffuserModel(ModelMixin):
        """The U-ViT that predicts the noise of picture and text."""

        def __init__(self, **settings: Any) -> None: ...

    class UniDiffuserTextDecoder(ModelMixin):
        """The GPT-2 that writes captions."""

        encode_prefix: Any
        decode_prefix: Any
        transformer: Any

        def __init__(self, **settings: Any) -> None: ...

    class Scheduler(ConfigMixin):
        """What the four schedulers have in common."""

        betas: Tensor
        alphas_cumprod: Tensor
        timesteps: Tensor
        init_noise_sigma: Any

        def __init__(self, **settings: Any) -> None: ...
        def set_timesteps(self, *args: Any, **options: Any) -> None: ...
        def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor: ...
        def step(self, *args: Any, **options: Any) -> Any: ...
        def set_begin_index(self, begin_index: int) -> None: ...
        def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor: ...

    class DPMSolverMultistepScheduler(Scheduler):
        """DPM-Solver++."""

    class DDIMScheduler(Scheduler):
        """DDIM."""

    class DDPMScheduler(Scheduler):
        """DDPM."""

    class HeunDiscreteScheduler(Scheduler):
        """The second-order solver of Karras et al. 2022."""

else:
    from diffusers import (
        AutoencoderKL,
        ConfigMixin,
        DDIMScheduler,
        DDPMScheduler,
        DPMSolverMultistepScheduler,
        HeunDiscreteScheduler,
        ModelMixin,
        UNet2DConditionModel,
        UNet2DModel,
        UniDiffuserModel,
        UniDiffuserTextDecoder,
    )
    from diffusers import SchedulerMixin as Scheduler
    from diffusers.configuration_utils import register_to_config

__all__ = [
    "AutoencoderKL",
    "ConfigMixin",
    "DDIMScheduler",
    "DDPMScheduler",
    "DPMSolverMultistepScheduler",
    "HeunDiscreteScheduler",
    "ModelMixin",
    "Scheduler",
    "UNet2DConditionModel",
    "UNet2DModel",
    "UniDiffuserModel",
    "UniDiffuserTextDecoder",
    "register_to_config",
]
