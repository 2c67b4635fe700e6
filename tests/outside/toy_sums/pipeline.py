"""Three stages: numbers are drawn, three networks learn a sum of them, the best one is named."""

from functools import partial

from astro_dist.engine.later import Later
from astro_dist.engine.pipeline import Pipeline
from astro_dist.engine.work import Estimate, Stage, Task, make_folder
from astro_dist.train.grid import Arm, grid_stage
from astro_dist.train.recipe import Recipe
from toy_sums.config import LearnConfig, NumbersConfig, SumsConfig


def plan_numbers(run, results):
    return [Task(f"shard-{i}", {"index": i}) for i in range(run.section(NumbersConfig).shards)]


def cost(config):
    return 3, 1e-4


def arms(run):
    files = list(range(run.section(NumbersConfig).shards))
    return [
        Arm("all", rows=files, key=("pair",)),
        Arm("few", rows=files[:1], key=("pair",)),
        Arm("slow", {"lr": run.section(LearnConfig).lr / 100}, rows=files, key=("pair",)),
    ]


RECIPE = Recipe("learn", LearnConfig, ("numbers",), Later("toy_sums.numbers:build"), cost)


def plan_one(name, run, results):
    return [Task(name)]


def estimate_numbers(run):
    settings = run.section(NumbersConfig)
    return Estimate(tasks=settings.shards, bytes=settings.shards * (128 + 8 * settings.per_shard))


NUMBERS = Stage(
    name="numbers",
    product="numbers",
    plan=plan_numbers,
    run=Later("toy_sums.numbers:draw_numbers"),
    prepare=make_folder,
    finish=Later("toy_sums.numbers:sum_up"),
    check=Later("toy_sums.numbers:check_numbers"),
    estimate=estimate_numbers,
    sections=("numbers",),
    own="numbers",
)
LEARN = grid_stage(RECIPE, "learn", "learnt", arms, sections=("learn", "numbers"), inputs=("numbers",))
VERDICT = Stage(
    name="verdict",
    product="verdict.json",
    plan=partial(plan_one, "verdict"),
    run=Later("toy_sums.numbers:name_best"),
    finish=Later("toy_sums.numbers:pass_on"),
    sections=("verdict",),
    inputs=("learn",),
)
SUMS = Pipeline(
    name="sums",
    help="which of two numbers count",
    config=SumsConfig,
    stages=(NUMBERS, LEARN, VERDICT),
    shown={"verdict": "verdict.json"},
)
