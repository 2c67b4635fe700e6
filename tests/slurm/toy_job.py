"""What a job of the toy stages runs: ``python -m tests.slurm.toy_job job RUN --stage shards ...``."""

import sys

from astro_dist.cli import build_parser
from astro_dist.config import load_yaml
from astro_dist.errors import AstroDistError
from astro_dist.pipeline import Pipeline
from astro_dist.slurm_commands import run_job
from tests.toys import toy_pipeline


def main(words):
    arguments = build_parser().parse_args(words)
    pipeline = toy_pipeline(arguments.run, load_yaml(arguments.run / "config.yaml"))
    pipeline = Pipeline(pipeline.root, pipeline.config, pipeline.known, arguments.stage)
    try:
        return run_job(pipeline, arguments)
    except AstroDistError as error:
        print(f"astro-dist: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    # The workers look the stages up by module, and this one is another there.
    sys.exit(main(sys.argv[1:]))
