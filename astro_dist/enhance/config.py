"""The configuration of the pipeline `enhance`."""

from typing import Literal

from astro_dist.engine.pipeline import PipelineConfig
from astro_dist.enhance.byol_config import PictureByolConfig
from astro_dist.enhance.chain_config import ChainConfig
from astro_dist.enhance.cleaner_config import CleanerConfig
from astro_dist.enhance.cleaning_config import CleaningConfig
from astro_dist.enhance.colourise_config import ColouriseConfig
from astro_dist.enhance.figures_config import FiguresConfig
from astro_dist.enhance.superres_config import SuperresConfig
from astro_dist.pictures.config import PlainPicturesConfig
from astro_dist.report.config import PictureReportConfig
from astro_dist.sky.config import AnnotateConfig, MapsConfig
from astro_dist.sky.survey import SimulateConfig
from astro_dist.store.config import CutoutsConfig


class EnhanceConfig(PipelineConfig):
    """All settings of a run of the pipeline `enhance`."""

    pipeline: Literal["enhance"] = "enhance"
    """Pipeline of this configuration."""
    pictures: PlainPicturesConfig = PlainPicturesConfig()
    """The pictures that the networks learn from, and that are enhanced; without a folder or a file toys are
    drawn."""
    maps: MapsConfig | None = None
    """Survey maps in the place of pictures; an empty section simulates a sky."""
    simulate: SimulateConfig = SimulateConfig()
    """The simulated survey, used where no map files are given."""
    annotate: AnnotateConfig = AnnotateConfig()
    """Background, rms, islands and their classes."""
    cutouts: CutoutsConfig = CutoutsConfig()
    """Cutouts of the maps, for training."""
    colourise: ColouriseConfig | None = None
    """Training of the network that colours grey pictures; without this section there is none."""
    byol: PictureByolConfig | None = None
    """Training of the cleaner's encoder without labels; without this section the cleaner begins untrained."""
    cleaner: CleanerConfig | None = None
    """Training of the network that finds objects; without this section there is none."""
    cleaning: CleaningConfig | None = None
    """Finding objects and painting over them; without this section pictures keep them."""
    superres: SuperresConfig | None = None
    """Training of the network that doubles pictures or maps; without this section there is none."""
    enhance: ChainConfig | None = None
    """The chain of networks and filters over pictures or maps; without this section nothing is enhanced."""
    evaluate: FiguresConfig | None = None
    """What the chain reaches on held-out images, beside baselines; without this section nothing."""
    report: PictureReportConfig = PictureReportConfig()
    """The report page."""
