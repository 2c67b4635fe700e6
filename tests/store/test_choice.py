import numpy as np
import pytest

from astro_dist.engine.errors import ConfigError
from astro_dist.sky.annotations import Annotations
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.maps import open_maps
from astro_dist.store.choice import choose_windows
from astro_dist.store.stage import CUTOUTS, most_windows
from tests.store.small_survey import SmallMap, make_run, scatter

COMPACT, EXTENDED = 2, 3


def choose(run):
    return choose_windows(run, open_maps(run), Annotations.load(run.product("annotations")))


def test_windows_are_sorted_inside_their_maps_and_hold_every_source(tmp_path):
    maps = [scatter("a", (200, 260), 25), SmallMap("b", (90, 80)), scatter("c", (150, 140), 12)]
    run = make_run(tmp_path, maps, CUTOUTS, size_pix=48, empty_fraction=0.0)
    choice = choose(run)
    table = np.column_stack([choice.map_index, choice.y0, choice.x0])
    assert table.tolist() == sorted(table.tolist())
    assert set(choice.map_index.tolist()) == {0, 2}
    for i, one in enumerate(maps):
        own = table[table[:, 0] == i]
        for _, y0, y1, x0, x1 in one.islands:
            whole = (own[:, 1] <= y0) & (y1 <= own[:, 1] + 48) & (own[:, 2] <= x0) & (x1 <= own[:, 2] + 48)
            assert whole.any()
    assert len(choice) <= sum(len(one.islands) for one in maps)
    index, window = choice.window(3)
    assert (index, window.y0, window.x0, window.shape) == (*table[3].tolist(), (48, 48))


def test_a_beam_of_margin_is_kept_round_an_island(tmp_path):
    """A window of 48 could hold both islands; the one at the map's edge needs room on one side only."""
    islands = [(EXTENDED, 0, 43, 100, 110), (EXTENDED, 100, 143, 100, 110)]
    run = make_run(tmp_path, [SmallMap("a", (200, 200), islands)], CUTOUTS, size_pix=48, empty_fraction=0)
    choice = choose(run)
    assert choice.y0.tolist() == [0]
    assert choice.oversized == [(0, 2)]


def test_tiles_cover_the_maps_and_are_marked_where_they_cut_extended_islands(tmp_path):
    islands = [(COMPACT, 47, 50, 10, 12), (EXTENDED, 60, 62, 46, 52), (EXTENDED, 100, 160, 10, 12)]
    run = make_run(tmp_path, [SmallMap("a", (200, 100), islands)], CUTOUTS, size_pix=48, mode="tiles")
    choice = choose(run)
    marked = {(y, x) for y, x, cut in zip(choice.y0, choice.x0, choice.cuts_extended, strict=True) if cut}
    assert len(choice) == 5 * 3
    assert marked == {(48, 0), (48, 48), (96, 0), (144, 0), (152, 0)}
    assert choice.oversized == [(0, 3)]


def test_source_free_windows_are_their_share_also_over_many_small_maps(tmp_path):
    maps = [SmallMap(f"m{i:02d}", (128, 128), [(COMPACT, 10, 13, 10, 13)]) for i in range(30)]
    run = make_run(tmp_path, maps, CUTOUTS, size_pix=32, empty_fraction=0.3)
    choice = choose(run)
    without = (choice.y0 > 13) | (choice.x0 > 13)
    assert len(choice) - without.sum() == 30
    assert without.sum() / len(choice) == pytest.approx(0.3, abs=0.1)


def test_the_seed_moves_windows_and_nothing_else_does(tmp_path):
    chosen = []
    for i, seed in enumerate((4, 4, 5)):
        run = make_run(tmp_path / str(i), [scatter("a", (200, 260), 20)], CUTOUTS, seed=seed, size_pix=48)
        chosen.append(np.column_stack([choose(run).y0, choose(run).x0]).tolist())
    assert chosen[0] == chosen[1]
    assert chosen[0] != chosen[2]


def test_a_map_smaller_than_a_window_is_refused_with_both_sizes(tmp_path):
    run = make_run(tmp_path, [scatter("tiny", (60, 100), 5)], CUTOUTS, size_pix=64)
    with pytest.raises(ConfigError, match=r"'tiny' has 60 x 100 pixels, fewer than a window of 64 x 64"):
        choose(run)


def test_a_beam_wider_than_a_third_of_a_window_is_refused_with_both_numbers(tmp_path):
    wide = scatter("wide", (100, 100), 5, beam=Beam(30.0, 10.0, 0.0), pixel=Pixel(1.5, 2.0))
    run = make_run(tmp_path, [wide], CUTOUTS, size_pix=56)
    with pytest.raises(
        ConfigError, match=r"'wide' is 20\.0 pixels wide, more than a third of a window of 56"
    ):
        choose(run)


def test_no_window_at_all_is_refused(tmp_path):
    spurious = SmallMap("a", (100, 100), [(1, 10, 20, 10, 20)])
    run = make_run(tmp_path, [spurious], CUTOUTS, size_pix=48)
    with pytest.raises(ConfigError, match="no compact or extended island that fits a window"):
        choose(run)


@pytest.mark.parametrize(("mode", "most"), [("tiles", 20), ("islands", 72)])
def test_the_most_windows_before_anything_is_known(tmp_path, mode, most):
    run = make_run(tmp_path, [scatter("a", (200, 180), 8)], CUTOUTS, size_pix=48, mode=mode, stride_pix=48)
    assert most_windows(run) == most
    assert len(choose(run)) <= most_windows(run)
