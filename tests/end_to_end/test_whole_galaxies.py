"""A galaxy of several islands is one source in every product of a run, and never placed as two."""

from tests.benchmarks.joining import follow_run


def test_no_galaxy_is_in_parts_in_any_product(toy_run):
    """``python -m tests.benchmarks.joining --run RUN`` counts those of the whole quick start."""
    counts = follow_run(toy_run[0])
    assert list(counts) == ["annotations", "cutouts", "stamps", "field"]
    for product, count in counts.items():
        assert (product, count["parted"]) == (product, 0)
        assert (product, count["whole"] > 0) == (product, True)
