"""`init`, `fork`, `doctor`, `completion` and `schema`: what somebody needs before a run."""

import argparse
import os
from pathlib import Path

from astro_dist import pipelines
from astro_dist.commands.printing import answer

LARGE_BYTES = 100_000_000
"""Size of a map whose reading takes more than a moment."""


def doctor(arguments: argparse.Namespace) -> int:
    """Show what this machine can and cannot do."""
    from astro_dist.doctor import describe_packages
    from astro_dist.workers.machine import describe_machine

    rows = [*describe_machine(), *describe_packages()]
    value = [{"what": what, "finding": finding, "good": good} for what, finding, good in rows]
    answer(
        arguments.json,
        value,
        lambda: [f"{'ok ' if good else 'note'} {what:<14} {finding}" for what, finding, good in rows],
    )
    return 0


def init(arguments: argparse.Namespace) -> int:
    """Write a starter configuration: every setting, or a short one for a map of the user."""
    from astro_dist.engine.config import describe
    from astro_dist.engine.errors import ConfigError, show
    from astro_dist.engine.files import publish_bytes
    from astro_dist.engine.foreign import require_file
    from astro_dist.engine.hints import nearest

    words = arguments.words
    # One word may be a pipeline or a file; a name of a pipeline comes first.
    named = [word for word in words[:1] if word in {*pipelines.PIPELINES, *pipelines.outside_names()}]
    rest = list(words[len(named) :])
    if len(rest) > 1:
        raise ConfigError(f"init takes a pipeline and one file, not {' '.join(words)!r}")
    if rest and not named and not Path(rest[0]).suffix:
        choices = nearest(rest[0], pipelines.PIPELINES)
        if choices.startswith("did you mean"):
            raise ConfigError(f"{rest[0]}: no pipeline has this name: {choices}; names of files end in .yaml")
    pipeline = pipelines.load(named[0] if named else pipelines.DEFAULT)
    if arguments.start is None:
        path, text, what = Path(rest[0] if rest else "astro_dist.yaml"), "", "every setting with its default"
    else:
        if pipeline.starter is None:
            raise ConfigError(f"--from: the pipeline {pipeline.name} proposes no settings; leave it out")
        require_file(arguments.start, "--from")
        if (size := arguments.start.stat().st_size) > LARGE_BYTES:
            show(f"reading {arguments.start} ({size / 1e9:.1f} GB)")
        try:
            name, text = pipeline.starter(arguments.start)
        except ConfigError as error:
            raise ConfigError(
                f"--from {str(error).replace('leave it out or give another', 'give a map')}"
            ) from None
        path, what = Path(rest[0] if rest else f"{name}.yaml"), f"a run like {arguments.start.name}"
    if os.path.lexists(path):
        start = "" if arguments.start is None else f" --from {arguments.start}"
        raise ConfigError(f"{path} exists already; name another file: astro-dist init{start} OTHER.yaml")
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent}; make it first, or name another file")
    try:
        publish_bytes(path, (text or describe(pipeline.config())).encode())
    except OSError as error:
        raise ConfigError(f"cannot write {path} ({error.strerror}); name another file") from None
    print(f"{path}: {what}; run it with `astro-dist run {path}`")
    return 0


def fork(arguments: argparse.Namespace) -> int:
    """Make a run that begins with the products of another one."""
    from astro_dist.engine.errors import ConfigError
    from astro_dist.engine.forking import fork_run
    from astro_dist.engine.pipeline import read_tree

    source, root = arguments.run, arguments.new
    old = pipelines.reopen(source)
    tree = read_tree(source / "config.yaml", [f"name={root.name}", *arguments.assignments])
    pipeline = pipelines.load(old.config.pipeline)
    if tree.get("pipeline", pipelines.DEFAULT) != pipeline.name:
        raise ConfigError(f"{source} is of the pipeline {pipeline.name}, and so is its fork; leave it out")
    config = pipeline.resolve(tree)
    taken, left = fork_run(old.root, root, config, pipeline.choose(config), print)
    print(f"{root}: has {', '.join(taken)} of {source}")
    if left:
        print(f"still to run: {', '.join(left)}: astro-dist run {root / 'config.yaml'} --out {root}")
    return 0


def completion(arguments: argparse.Namespace) -> int:
    """Print what a shell needs to complete commands, options, stages and names of configurations."""
    from astro_dist.commands.completion import write_script

    print(write_script(arguments.shell, arguments.options))
    return 0


def schema(arguments: argparse.Namespace) -> int:
    """Print the JSON schema of a pipeline's configuration."""
    import json

    from astro_dist.engine.schema import describe_schema

    print(json.dumps(describe_schema(pipelines.load(arguments.pipeline).config), indent=1))
    return 0
