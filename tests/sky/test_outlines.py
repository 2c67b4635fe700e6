"""An outline filled again has the pixels that it was traced round."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from astro_dist.sky.fill import fill_polygon
from astro_dist.sky.outlines import trace_outline

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=9)).filter(np.any)


@given(MASKS, st.floats(-0.4, 0.4), st.floats(-0.4, 0.4))
def test_an_outline_has_the_pixels_that_it_is_of_also_when_it_is_rounded(mask, dy, dx):
    y, x = np.nonzero(mask)
    corners = trace_outline(y, x) + np.array([dy, dx])
    spots = fill_polygon(corners[:, 0], corners[:, 1], mask.shape)
    np.testing.assert_array_equal([spots.y, spots.x], [y, x])


def test_pieces_and_holes_are_joined_along_rows_and_columns():
    mask = np.ones((5, 5), np.bool_)
    mask[2, 2] = False
    y, x = np.nonzero(np.pad(mask, ((0, 0), (0, 9))))
    corners = trace_outline(np.append(y, 3), np.append(x, 12))
    steps = np.diff(corners, axis=0, append=corners[:1])
    assert ((steps == 0).sum(axis=1) >= 1).all()
    # Three closed lines of four corners, and four corners to reach each of two of them and return.
    assert len(corners) == 12 + 2 * 4
