"""The list of all pipelines: their names, the commands of their stages, and how to load them.

Names and one-line helps are plain data, so that ``astro-dist --help`` imports no pipeline; a test compares
them with the declarations. Other packages add pipelines by the entry-point group `GROUP`, as
``NAME = "module:PIPELINE"``; these are loaded when a configuration or a command names them.
"""

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from astro_dist.engine.pipeline import Pipeline
    from astro_dist.runner import Runner

GROUP = "astro_dist.pipelines"
CONFIGS = Path(__file__).parent / "configs"
"""Configurations of the package: in a clone a link to its folder ``configs``."""
DEFAULT = "radio"
"""Pipeline of a configuration that names none."""


@dataclass(frozen=True)
class Tool:
    """A command of a pipeline beside its stages: ``astro-dist PIPELINE NAME``.

    Attributes
    ----------
    where
        ``module:function``; the function gets the arguments by their names and may return an exit code.
    help
        One line about the purpose.
    arguments
        The name of each argument, and the settings of `argparse` for it.
    """

    where: str
    help: str
    arguments: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Listing:
    """The entry of a pipeline on the command line.

    Attributes
    ----------
    where
        ``module:name`` of the declaration.
    help
        One line about the purpose.
    stages
        ``{words: help}`` of the stages in order; ``words`` are the words of the command line.
    tools
        Commands of the pipeline beside its stages, by name.
    """

    where: str
    help: str
    stages: Mapping[str, str]
    tools: Mapping[str, Tool] = field(default_factory=dict)


PROMPT_HELP = """what they show, or a class; that of the package knows planets, galaxies, asteroids, nebulae,
comets, black holes, stars and constellations, and paints 32 x 32 pixels"""
OUT = {"type": Path, "required": True, "metavar": "DIR", "help": "folder of the files"}

PIPELINES = {
    "radio": Listing(
        "astro_dist.radio.pipeline:RADIO",
        "from survey maps to a synthetic field with an exact truth",
        {
            "simulate": "make a survey map with its truth",
            "annotate": "find islands in the maps and class them",
            "cutouts": "cut the maps into a sharded store",
            "train autoencoder": "train the KL autoencoder",
            "train diffusion": "train the latent diffusion model",
            "train masks": "train the model that draws masks",
            "generate": "draw stamps from the trained model",
            "assemble": "place the objects in a large field",
            "train byol": "train the features that evaluation measures distances in",
            "train segmenter": "train the segmenter that evaluation judges stamps with",
            "evaluate": "measure the model on held-out cutouts",
            "report": "write one page with all results",
            "package": "make the field a data challenge with a hidden truth",
        },
    ),
    "flare": Listing(
        "astro_dist.flare.pipeline:FLARE",
        "from a folder of pictures to a classifier, and what synthetic pictures add to it",
        {
            "pictures": "read the pictures into a sharded store, find near-duplicates, deal the splits",
            "train upscaler": "train the network that enlarges pictures",
            "upscale": "enlarge all pictures, and measure how well",
            "train judge": "train the judge of synthetic pictures",
            "train vae": "train the autoencoder that pictures are painted in",
            "train clip": "train the encoders of prompts and pictures",
            "train captioner": "train the decoder that writes captions",
            "train unidiffuser": "train the network that paints, or take a published one",
            "train diffusion": "train a painter of classes, which needs no prompts",
            "synthesise": "paint synthetic pictures and variants for the training split",
            "combine": "choose the pictures of each training set",
            "classify": "train a classifier for every set, network, level and seed",
            "compare": "measure the gains of the training sets over each other",
            "report": "write one page with all results",
        },
        {
            "upscale": Tool(
                "astro_dist.flare.enhance:upscale_pictures",
                "enlarge pictures with an upscaler",
                {
                    "pictures": {"type": Path, "nargs": "+", "metavar": "PICTURE", "help": "picture files"},
                    "--out": OUT,
                    "--model": {
                        "default": "flare",
                        "metavar": "PATH",
                        "help": "a run, a folder of an upscaler, or a file of SwinIR's authors; by default "
                        "the weights of the package",
                    },
                    "--tile-pix": {
                        "type": int,
                        "default": 512,
                        "metavar": "N",
                        "help": "longest side that is enlarged in one piece; 512 by default",
                    },
                },
            ),
            "export": Tool(
                "astro_dist.flare.export:export_run",
                "write the pictures of a run as folders of PNG files with their classes",
                {
                    "run": {"type": Path, "metavar": "RUN", "help": "a run directory"},
                    "folder": {"type": Path, "metavar": "DIR", "help": "the folder to make"},
                },
            ),
            "test": Tool(
                "astro_dist.flare.try_folder:try_folder",
                "test a classifier on a folder of pictures with their classes",
                {
                    "model": {"type": Path, "metavar": "MODEL", "help": "a cell of RUN/classifiers"},
                    "folder": {"type": Path, "metavar": "DIR", "help": "a folder with a folder per class"},
                },
            ),
            "sample": Tool(
                "astro_dist.flare.sample:sample_pictures",
                "paint pictures of a prompt, or of a class",
                {
                    "--prompt": {"required": True, "metavar": "TEXT", "help": PROMPT_HELP},
                    "--num-samples": {"type": int, "default": 4, "metavar": "N", "help": "how many (4)"},
                    "--seed": {"type": int, "default": 1, "metavar": "N", "help": "seed (1)"},
                    "--out": OUT,
                    "--model": {"default": "flare", "metavar": "PATH", "help": "painter, or run with one"},
                    "--threads": {
                        "type": int,
                        "default": 1,
                        "metavar": "N",
                        "help": "CPU threads, on which the last bits depend (1)",
                    },
                },
            ),
        },
    ),
    "enhance": Listing(
        "astro_dist.enhance.pipeline:ENHANCE",
        "colour, super-resolution and cleaning of pictures and of survey maps",
        {
            "pictures": "read the pictures into a sharded store, find near-duplicates, deal the splits",
            "simulate": "make a survey map with its truth",
            "annotate": "find islands in the maps and class them",
            "cutouts": "cut the maps into a sharded store",
            "train colourise": "train the network that colours grey pictures",
            "train superres": "train the network that doubles pictures or maps",
            "train byol": "train the cleaner's encoder on pictures without labels",
            "train cleaner": "train the network that finds objects in pictures",
            "cleaning": "paint over objects in pictures",
            "enhance": "double, colour and clean pictures or FITS files, with the fluxes of maps kept",
            "evaluate": "measure the chain on held-out images, beside baselines",
            "report": "write one page with all results",
        },
    ),
}


def add_tools(commands: Any, only: str | None = None) -> None:
    """Add to a parser the commands that pipelines have beside their stages; ``only`` names one of them."""
    for name, listing in PIPELINES.items():
        if not listing.tools or only not in (None, name):
            continue
        text = f"commands of the pipeline {name} beside its stages: {', '.join(listing.tools)}"
        group = commands.add_parser(name, help=text, description=_sentence(listing.help))
        tools = group.add_subparsers(dest="tool", metavar="COMMAND", required=True)
        for word, tool in listing.tools.items():
            parser = tools.add_parser(word, help=tool.help, description=_sentence(tool.help))
            for argument, options in tool.arguments.items():
                parser.add_argument(argument, **options)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def use_tool(arguments: Any) -> int:
    """Call the function of a pipeline's command with its parsed arguments by name; return the exit code."""
    given = {key: value for key, value in vars(arguments).items() if key not in ("command", "tool")}
    module, _, function = PIPELINES[arguments.command].tools[arguments.tool].where.partition(":")
    return getattr(importlib.import_module(module), function)(**given) or 0


def outside_names() -> dict[str, str]:
    """Return ``{name: module:PIPELINE}`` of the pipelines that installed packages add."""
    from importlib.metadata import entry_points

    found = entry_points(group=GROUP)
    # Names of the package cannot be taken over by another package.
    return {entry.name: entry.value for entry in found if entry.name not in PIPELINES}


def load(name: str) -> "Pipeline":
    """Import one pipeline; the names of one from outside are checked against those of the package.

    Raises
    ------
    ConfigError
        No pipeline has this name, or its package cannot be imported, or its declaration is refused.
    """
    from astro_dist.engine.config import nearest
    from astro_dist.engine.errors import ConfigError
    from astro_dist.engine.pipeline import Pipeline

    outside = {} if name in PIPELINES else outside_names()
    if name not in PIPELINES and name not in outside:
        raise ConfigError(f"pipeline: there is no pipeline {name!r}: {nearest(name, {*PIPELINES, *outside})}")
    where = PIPELINES[name].where if name in PIPELINES else outside[name]
    module, _, attribute = where.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
        # The name is compared too: it is written into every config.yaml, from which runs are opened again.
        if not isinstance(found, Pipeline) or found.name != name:
            raise ValueError(f"{where} is not a pipeline called {name}")
        # Those of the package are compared by a test; here each would load the others, which costs time.
        if name not in PIPELINES:
            check_names(found)
    except (ImportError, AttributeError, ValueError) as error:
        # In a pipeline of this package that is a fault of the package, not of the user's input.
        if name in PIPELINES:
            raise
        raise ConfigError(f"the pipeline {name} of {where} cannot be used: {error}") from None
    return found


def check_names(pipeline: "Pipeline") -> None:
    """Refuse a stage whose name stands for another kind of stage in a pipeline of the package.

    Raises
    ------
    ValueError
        A name has two meanings; the message names the stage and the other pipeline.
    """
    # How a product is made is the pipeline's affair: what people find under a word is the same.
    own = {stage.words: stage.product for stage in pipeline.stages}
    for name, listing in PIPELINES.items():
        if name == pipeline.name:
            continue
        if name in own or pipeline.name in listing.stages:
            raise ValueError(f"{name} is both a pipeline and a stage")
        # Only shared words import the other pipeline, which is slow.
        if shared := own.keys() & listing.stages.keys():
            theirs = {stage.words: stage.product for stage in load(name).stages}
            for words in sorted(shared):
                if own[words] != theirs[words]:
                    raise ValueError(f"{words} is another kind of stage in the pipeline {name}; rename it")


def commands() -> dict[str, str]:
    """Return ``{words: help}`` of all stages of the package; a name that pipelines share comes once."""
    # A later listing may overwrite an earlier one, because `check_names` refuses words with two meanings.
    return {words: text for listing in PIPELINES.values() for words, text in listing.stages.items()}


def outside_commands() -> dict[str, str]:
    """Return ``{words: help}`` of the stages of other packages' pipelines, which this imports."""
    found = (load(name) for name in outside_names())
    return {stage.words: f"a stage of the pipeline {p.name}" for p in found for stage in p.stages}


def shipped() -> list[str]:
    """Return the names of the configurations of the package, such as ``quickstart`` and ``radiff/paper``."""
    found = (path.relative_to(CONFIGS).with_suffix("").as_posix() for path in CONFIGS.rglob("*.yaml"))
    return sorted(name for name in found if not name.startswith("clusters/"))


def find_config(path: Path) -> Path:
    """Return a configuration file: that of the user, else the one of the package that has this name.

    Raises
    ------
    ConfigError
        There is neither; the message names the nearest one of the package.
    """
    if path.suffix or os.path.lexists(path):
        return path
    if (names := shipped()) and str(path) in names:
        return CONFIGS / f"{path}.yaml"
    from astro_dist.engine.errors import ConfigError
    from astro_dist.engine.hints import nearest

    raise ConfigError(
        f"there is no configuration file {path}, and the package has none of this name "
        f"({nearest(str(path), names)}); `astro-dist init` writes one"
    )


def find_site(path: Path) -> Path:
    """Return a cluster file: that of the user, else the one of the package that has this name."""
    ours = CONFIGS / "clusters" / f"{path}.yaml"
    return ours if not path.suffix and not os.path.lexists(path) and ours.is_file() else path


def configure(
    path: Path, assignments: Sequence[str] = (), asked: Sequence[str] = ()
) -> "tuple[Pipeline, Any]":
    """Read a configuration file; return its pipeline and the resolved configuration.

    Parameters
    ----------
    assignments
        The changes of ``--set``, as ``a.b=value``.
    asked
        Names of stages that the run must hold although the configuration would leave them out.
    """
    from astro_dist.engine.pipeline import read_tree

    tree = read_tree(find_config(path), assignments)
    # Not yet checked: the pipeline itself decides which sections the tree may hold.
    pipeline = load(str(tree.get("pipeline", DEFAULT)))
    # Looked up, not passed on as given: an unknown name is refused with the nearest valid one.
    names = [pipeline.stage(name).name for name in asked]
    return pipeline, pipeline.resolve(pipeline.include(tree, names))


def open_runner(
    path: Path,
    root: Path | None = None,
    assignments: Sequence[str] = (),
    to: str | None = None,
    only: str | None = None,
    redo: Sequence[str] = (),
) -> "Runner":
    """Return the runner of a configuration file; its run directory is ``root``, runs/NAME by default."""
    pipeline, config = configure(path, assignments, [name for name in (to, only) if name is not None])
    # Only now, so that a wrong configuration costs little.
    from astro_dist.runner import Runner

    # The name is that of the checked configuration, whose pattern allows no path.
    root = root or Path("runs") / config.name
    return Runner(root, config, pipeline.choose(config, to, only, redo), only, pipeline.shown)


def reopen(root: Path, only: str | None = None) -> "Runner":
    """Return the runner of an existing run directory, with the configuration in its ``config.yaml``.

    Raises
    ------
    ConfigError
        ``root`` is no run directory, or this version cannot use the configuration in it.
    """
    from astro_dist import __version__
    from astro_dist.engine.config import load_yaml
    from astro_dist.engine.custody import refuse_foreign
    from astro_dist.engine.errors import ConfigError
    from astro_dist.engine.manifest import config_fault
    from astro_dist.runner import Runner

    path = root / "config.yaml"
    if not path.exists():
        again = "; the command that began the run writes it again" if (root / "ledger").is_dir() else ""
        raise ConfigError(f"{root} is not a run directory: it holds no config.yaml{again}")
    # As `run` does: without its records nothing here is known to be a product of the run.
    refuse_foreign(root)
    if (fault := config_fault(root)) is not None:
        raise ConfigError(
            f"{root}: {fault}; put it back, or give the run's own configuration again, which sets it aside: "
            f"astro-dist run CONFIG --out {root}"
        )
    try:
        tree = load_yaml(path)
        pipeline = load(str(tree.get("pipeline", DEFAULT)))
        config = pipeline.resolve(tree)
    except ConfigError as error:
        raise ConfigError(
            f"{path}, which a run wrote, cannot be used by astro-dist {__version__}: {error}"
        ) from None
    return Runner(root, config, pipeline.choose(config, only=only), only, pipeline.shown)
