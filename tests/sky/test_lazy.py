"""Graphs of dask over whole maps: the same bits from every scheduler, on the same grid as tasks have."""

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.field.overview import summarise
from astro_dist.sky import finder
from astro_dist.sky.config import AnnotateConfig, MapsConfig
from astro_dist.sky.finder import (
    block_rows,
    make_mesh,
    measure_block,
    measure_mesh,
    mesh_cell,
    read_blocks,
)
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.wide import Blocks
from tests.sky.small_maps import header_of


@pytest.fixture
def sky_map(tmp_path, monkeypatch):
    """A map of several bands with a gap, a source and emission wider than a cell."""
    # Before any band is cut: 4 bands instead of 1.
    monkeypatch.setattr(finder, "READ_PIX", 40_000)
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:500, :310]
    image = rng.normal(0, 1e-4, y.shape) + 4e-4 * np.exp(-((y - 250) ** 2 + (x - 150) ** 2) / 1e4)
    image[100:104, 100:104] += 0.01
    image[300:330, 20:60] = np.nan
    header = header_of(
        image.shape, (1.5, 1.5), (180.0, -30.0), BMAJ=6 / 3600, BMIN=6 / 3600, BPA=0.0, BUNIT="Jy/beam"
    )
    fits.writeto(tmp_path / "m.fits", image.astype(np.float32), header)
    return SkyMap.open(tmp_path / "m.fits", MapsConfig())


def bits(mesh):
    wide = () if mesh.wide is None else (mesh.wide.planes().tobytes(),)
    return (mesh.background.tobytes(), mesh.rms.tobytes(), *wide)


def test_the_mesh_of_a_graph_is_that_of_bands_read_one_by_one(sky_map, monkeypatch):
    config = AnnotateConfig()
    bands = list(read_blocks(sky_map, config, 0, sky_map.shape[0]))
    assert len(bands) > 2
    rows, inner = [], []
    for band in bands:
        image = sky_map.read(band)
        rows += measure_block(image, mesh_cell(sky_map, config))
        inner += block_rows(image, sky_map, config)
    background, rms = (np.stack(nodes) for nodes in zip(*rows, strict=True))
    expected = bits(make_mesh(sky_map, config, background, rms, Blocks.join(inner), None, None))
    assert bits(measure_mesh(sky_map, config)) == expected
    monkeypatch.setattr(finder, "READ_PIX", 4_000_000)
    assert bits(measure_mesh(sky_map, config)) == expected


def test_every_scheduler_gives_the_mesh_the_same_bits(sky_map):
    config = AnnotateConfig()
    threads, processes, one = (
        bits(measure_mesh(sky_map, config, scheduler=name))
        for name in ("threads", "processes", "synchronous")
    )
    assert threads == processes == one


@pytest.mark.soak
def test_dask_on_a_ray_cluster_of_two_nodes_gives_the_same_bits(sky_map, monkeypatch, tmp_path_factory):
    import ray
    from ray.cluster_utils import Cluster
    from ray.util.dask import ray_dask_get

    config = AnnotateConfig()
    mesh, (facts, blocks) = bits(measure_mesh(sky_map, config)), summarise(sky_map)
    cluster = Cluster()
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, include_dashboard=False)
        ray.init(address=cluster.address, log_to_driver=False)
        assert len([node for node in ray.nodes() if node["Alive"]]) == 2
        assert bits(measure_mesh(sky_map, config, scheduler=ray_dask_get)) == mesh
        others, same = summarise(sky_map, ray_dask_get)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert others == facts
    np.testing.assert_array_equal(same, blocks)
