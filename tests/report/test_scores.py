"""Pages of scores: names of others are escaped, and a leaderboard is in order."""

from astro_dist.report.page import render
from astro_dist.report.scores import build_leaderboard

HEAD = {"challenge": "c", "package": "p"}


def labels(name, pq):
    mean = {"pq": pq, "ap": 0.5, "ap50": 0.5, "ap75": 0.5}
    return {**HEAD, "name": name, "kind": "labels", "segmentation": {"mean": mean}}


def test_names_of_submissions_are_escaped():
    page = render(build_leaderboard("<b>x", [labels("<script>alert(1)</script>", 0.4)]))
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>x" not in page
    assert "default-src 'none'" in page


def test_a_mask_without_a_figure_has_an_empty_cell():
    page = render(build_leaderboard("c", [labels("none", None)]))
    assert "None" not in page
