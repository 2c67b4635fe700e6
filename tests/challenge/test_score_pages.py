"""Pages of scores in a real browser: whole, nothing out of the page at two widths, foreign names as text."""

import pytest

from astro_dist.report.scores import score_files
from tests.browser import Browser, need_browser

MISSES = "document.querySelectorAll('#misses .pictures img').length"
SMALLEST = """Math.min(...[...document.querySelectorAll('#misses .pictures figcaption')]
    .map(text => parseFloat(getComputedStyle(text).fontSize)))"""
HOSTILE = "<img src=x onerror='window.hit=1'>"


@pytest.fixture(scope="module")
def pages(folder, judge, tmp_path_factory):
    """A folder with pages of two catalogues, one of a hostile name, and the leaderboard."""
    root = tmp_path_factory.mktemp("scores")
    truth = judge.truth
    columns = (truth[name] for name in ("ra_deg", "dec_deg", "flux_jy"))
    rows = [f"{ra},{dec},{flux}" for ra, dec, flux in zip(*columns, strict=True)]
    for name, some in (("half", rows[::2]), (HOSTILE, rows[::3])):
        (root / f"{name}.csv").write_text("\n".join(["ra_deg,dec_deg,flux_jy", *some, ""]))
    score_files(sorted(root.glob("*.csv")), folder, root / "out")
    return root / "out"


def test_pages_of_scores_are_whole_at_both_widths(pages, tmp_path):
    need_browser()
    with Browser(tmp_path / "browser") as browser:
        for path in sorted(pages.glob("*.html")):
            for width in (1600, 400):
                browser.size(width, 900)
                browser.open("about:blank")
                browser.open(path.as_uri())
                browser.wait("document.readyState === 'complete' && document.querySelector('h2') !== null")
                assert browser.ask("document.documentElement.scrollWidth") <= width, path
                broken = "[...document.images].filter(i => !(i.complete && i.naturalWidth)).length"
                assert browser.ask(broken) == 0, path
                if "leaderboard" not in path.name:
                    assert browser.ask(MISSES) > 20
                    assert browser.ask(SMALLEST) >= 12
        assert browser.ask("window.hit") is None
        board = next(pages.glob("leaderboard.html"))
        browser.open(board.as_uri())
        browser.wait("document.querySelectorAll('tbody tr').length === 2")
        assert HOSTILE in browser.ask("document.querySelector('tbody').textContent")
        assert browser.said == []
