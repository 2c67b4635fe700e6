"""What a job of the toy stages runs: ``python -m tests.slurm.toy_job job RUN --stage shards ...``."""

import sys

from astro_dist.cli import build_parser
from astro_dist.cluster.commands import run_job
from astro_dist.engine.config import load_yaml
from astro_dist.engine.errors import AstroDistError
from astro_dist.runner import Runner
from tests.toys import toy_runner


def main(words):
    arguments = build_parser().parse_args(words)
    runner = toy_runner(arguments.run, load_yaml(arguments.run / "config.yaml"))
    runner = Runner(runner.root, runner.config, runner.known, arguments.stage)
    try:
        return run_job(runner, arguments)
    except AstroDistError as error:
        print(f"astro-dist: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    # The workers look the stages up by module, and this one is another there.
    sys.exit(main(sys.argv[1:]))
