import base64

import numpy as np

from astro_dist.report.evaluation import _draw_tails


def test_the_tails_of_every_row_are_drawn_beside_a_gaussian():
    snr = np.arange(-7.875, 8, 0.25)
    shares = 0.25 * np.exp(-(snr**2) / 2) / np.sqrt(2 * np.pi)
    cut = np.where(abs(snr) < 4, shares, 0)
    few, many = (
        len(base64.b64decode(block.uri.partition(",")[2]))
        for rows in ({"real": shares}, {"real": shares, "generated_own": cut})
        for block in _draw_tails({"snr": snr.tolist(), **rows})
    )
    assert many > few + 1000


def test_an_evaluation_that_kept_no_sky_is_shown_without():
    assert _draw_tails(None) == []
