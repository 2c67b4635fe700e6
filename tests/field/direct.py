"""What placements add, computed from the published tables alone: sums of Gaussians, no transform."""

import numpy as np

from astro_dist.field.columns import read_columns_file

BEYOND = 30


def added_pixels(run, table, shape, beam, pixel):
    """Yield each row of a table of placements, and what it adds to a field of ``shape``, float64."""
    folder = run.root / "field"
    objects, pixels = read_columns_file(folder / "objects.parquet"), np.load(folder / "shapes.npy")
    for values in zip(*(column.tolist() for column in table.values()), strict=True):
        row = dict(zip(table, values, strict=True))
        item = (
            {name: column[row["object"]] for name, column in objects.items()} if row["object"] >= 0 else None
        )
        stored = np.ones((1, 1))
        if item is not None:
            first, h, w = (int(item[name]) for name in ("offset", "height", "width"))
            stored = pixels[first : first + h * w].reshape(h, w)
        whole = (
            drawing(row, stored, shape) if row["drawn"] else rendering(row, item, stored, shape, beam, pixel)
        )
        yield row, whole


def drawing(row, stored, shape):
    quarter = round(row["turn_deg"] / 90)
    turned = np.rot90(stored[:, ::-1] if row["flip"] else stored, -quarter % 4)
    whole = np.zeros(shape, np.float32)
    amplitude = np.float32(row["k"] * row["sigma_jy_beam"])
    rows, columns = (slice(row[a], row[a] + row[b]) for a, b in (("y0", "height"), ("x0", "width")))
    whole[rows, columns] = turned * amplitude
    return whole


def rendering(row, item, stored, shape, beam, pixel):
    """Add the Gaussian of every point at its exact place."""
    turn, mirror = np.radians(row["turn_deg"]), -1 if row["flip"] else 1
    step, spread = (
        np.eye(2),
        np.array([[row[f"spread_{n}"] for n in pair] for pair in (("yy", "yx"), ("yx", "xx"))]),
    )
    points = np.zeros((1, 2))
    if item is not None:
        # +y turns towards -x, after the flip of x; axes (y, x).
        step = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) @ np.diag([1, mirror])
        step = np.diag([1 / pixel.dy_arcsec, 1 / pixel.dx_arcsec]) @ step * row["size_factor"]
        step = step @ np.diag([item["dy_arcsec"], item["dx_arcsec"]])
        spread = (
            step
            @ np.array([[item["spread_yy"], item["spread_yx"]], [item["spread_yx"], item["spread_xx"]]])
            @ step.T
        )
        points = np.stack(np.nonzero(stored), axis=1)
        anchor = [item["core_y"] - item["y0"], item["core_x"] - item["x0"]]
        if row.get("anchor", "centroid") == "centroid":
            anchor = (points * stored[stored > 0][:, None]).sum(axis=0) / stored.sum()
        points = (points - anchor) @ step.T
    inverse = np.linalg.inv(beam.covariance_pix(pixel) + spread)
    # The brightest pixel counts, even where it lies beyond the field.
    y, x = np.mgrid[-BEYOND : shape[0] + BEYOND, -BEYOND : shape[1] + BEYOND].astype(float)
    whole = np.zeros(y.shape)
    for (dy, dx), flux in zip(points, stored[np.nonzero(stored)], strict=True):
        v, u = y - row["y_anchor_pix"] - dy, x - row["x_anchor_pix"] - dx
        whole += flux * np.exp(
            -0.5 * (inverse[0, 0] * v * v + 2 * inverse[0, 1] * v * u + inverse[1, 1] * u * u)
        )
    # A model of 1 Jy sums to the beam's area.
    whole *= beam.area_pix(pixel) / stored.sum() * np.sqrt(np.linalg.det(inverse)) / (2 * np.pi)
    if np.isfinite(row["flux_given_jy"]):
        factor = row["flux_given_jy"]
    else:
        factor = row["k"] * row["sigma_jy_beam"] / whole.max()
    return factor * whole[BEYOND:-BEYOND, BEYOND:-BEYOND]


def spread_of(row):
    yy, yx, xx = (row[f"spread_{name}"] for name in ("yy", "yx", "xx"))
    return np.array([[yy, yx], [yx, xx]])
