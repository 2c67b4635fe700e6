"""The drawing of stamps as a pipeline of diffusers, with a folder that diffusers saves and loads."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import NDArray

from astro_dist.api.drawing import Stamps, find_models, origins_of
from astro_dist.engine.config import validate
from astro_dist.engine.files import forget_folders
from astro_dist.engine.origins import Origin, read_origins, write_origins
from astro_dist.generate.config import GenerateConfig
from astro_dist.generate.sampler import Sampler
from astro_dist.models.autoencoder import load_autoencoder
from astro_dist.models.denoiser import Denoiser, load_denoiser, load_scheduler

if TYPE_CHECKING:

    class DiffusionPipeline:
        """The class of diffusers, which has no types of its own."""

        name_or_path: str

        def register_modules(self, **parts: Any) -> None: ...
        def save_pretrained(self, folder: str | Path, **options: Any) -> None: ...
else:
    from diffusers import DiffusionPipeline

LOADER = """\
from astro_dist.api.pipeline import StampPipeline as StampPipeline
"""
"""The file by which ``DiffusionPipeline.from_pretrained(FOLDER, custom_pipeline=FOLDER)`` finds the class."""


class StampPipeline(DiffusionPipeline):
    """A pipeline of diffusers that draws stamps for masks.

    `from_folder` takes the models of a run or of the package; `save_pretrained` writes one folder that
    `from_pretrained` of this class loads. `DiffusionPipeline.from_pretrained(FOLDER, custom_pipeline=FOLDER,
    trust_remote_code=True)` loads it too, where this package is installed. Nothing is downloaded.

    Examples
    --------
    >>> import astro_dist, numpy as np
    >>> pipe = astro_dist.StampPipeline.from_folder("small")
    >>> mask = np.zeros((64, 64), np.uint8)
    >>> mask[30:36, 20:44] = astro_dist.SourceClass.EXTENDED
    >>> image = pipe(mask, snr=40, seed=1, num_inference_steps=4)
    >>> bool((image == astro_dist.Stamps("small", steps=4).draw(mask, snr=40, seed=1)).all())
    True
    """

    unet: Any
    conditioner: Any
    autoencoder: Any
    scheduler: Any

    def __init__(self, autoencoder: Any, unet: Any, conditioner: Any, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(
            autoencoder=autoencoder, unet=unet, conditioner=conditioner, scheduler=scheduler
        )
        self._models: Path | None = None

    @classmethod
    def from_folder(cls, folder: str | Path = "small") -> Self:
        """Return the pipeline of a run directory, of a folder with its models, or of weights of the package.

        Raises
        ------
        ConfigError
            There are no models in the folder.
        """
        models = find_models(folder)
        denoiser = load_denoiser(models / "diffusion")
        parts = load_autoencoder(models / "autoencoder"), denoiser.unet, denoiser.conditioner
        pipeline = cls(*parts, load_scheduler(models / "diffusion"))
        pipeline._models = models
        return pipeline

    @property
    def origins(self) -> tuple[Origin, ...]:
        """What the networks learnt from, with the terms of use."""
        return origins_of(self._models) if self._models else read_origins(Path(self.name_or_path))

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:
        """Write the parts, `model_index.json`, and what `custom_pipeline` needs, and the terms of use."""
        super().save_pretrained(folder, **options)
        forget_folders(Path(folder))
        Path(folder, "pipeline.py").write_text(LOADER)
        write_origins(Path(folder), self.origins)

    def __call__(
        self,
        mask: Any,
        snr: Any = 20.0,
        background: Any = None,
        seed: int = 0,
        instances: Any = None,
        *,
        num_inference_steps: int = 10,
        beam_arcsec: float = 5.4,
        pixel_arcsec: float = 1.8,
        rms_jy_beam: float = 1.5e-4,
        frequency_hz: float = 1.4e9,
    ) -> NDArray[Any]:
        """Draw one stamp; arguments, result and errors are those of `Stamps` and `Stamps.draw`."""
        denoiser = Denoiser(self.unet, self.conditioner).eval()
        settings = validate(GenerateConfig, {"steps": num_inference_steps})
        sampler = Sampler.of(self.autoencoder.eval(), denoiser, self.scheduler, settings)
        stamps = Stamps.of(
            sampler,
            {},
            beam_arcsec=beam_arcsec,
            pixel_arcsec=pixel_arcsec,
            rms_jy_beam=rms_jy_beam,
            frequency_hz=frequency_hz,
        )
        return stamps.draw(mask, snr, background, seed, instances)
