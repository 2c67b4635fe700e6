import numpy as np
import pytest
from pydantic import ValidationError

from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.classes import SourceClass
from astro_dist.sky.classify import RULES, RulesConfig, Scene, classify, trim
from astro_dist.sky.islands import find_pixels, join_islands
from astro_dist.sky.mesh import Mesh
from astro_dist.sky.windows import Window

BEAM, PIXEL = Beam(8.0, 8.0), Pixel(2.0, 2.0)
SHAPE = (160, 160)
AREA = BEAM.area_pix(PIXEL)
Y, X = np.indices(SHAPE)


def source(y, x, peak, beam=BEAM):
    return peak * beam.profile(Y - y, X - x, PIXEL)


def line(y, x, length, turn_deg, peak, width=1.2):
    """Return a bar with round ends whose middle is (y, x); 0 deg lies along x."""
    turn = np.radians(turn_deg)
    along = (X - x) * np.cos(turn) + (Y - y) * np.sin(turn)
    across = (Y - y) * np.cos(turn) - (X - x) * np.sin(turn)
    beyond = np.maximum(np.abs(along) - length / 2, 0)
    return peak * np.exp(-0.5 * (across**2 + beyond**2) / width**2)


def scene_of(image):
    mesh = Mesh(SHAPE, SHAPE[0], np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32))
    pixels = find_pixels(image.astype(np.float32), mesh, Window.of_shape(SHAPE), 3.0)
    islands = [join_islands(p, 5.0, AREA / 4) for p in (pixels[pixels.snr > 0], -pixels[pixels.snr < 0])]
    return Scene(*islands, BEAM, PIXEL, 5.0, 3.0, lambda y, x: np.full(len(y), BEAM.area_pix(PIXEL)))


def rules_at(image, *places, **settings):
    """Return the rules that decide the islands at some places, after trimming."""
    rules = RulesConfig(**settings)
    scene = trim(scene_of(image), rules, AREA / 4)
    names = classify(scene, rules)
    pixels, owner = scene.islands.pixels, scene.islands.owner
    found = [owner[(pixels.y == y) & (pixels.x == x)] for y, x in places]
    return [str(names[index[0]]) if len(index) else None for index in found]


def test_every_rule_has_a_class():
    assert set(RULES.values()) == set(SourceClass) - {SourceClass.BACKGROUND}


@pytest.mark.parametrize("peak", [6, 30, 1000, 20000])
def test_a_point_source_is_compact_at_any_brightness(peak):
    assert rules_at(source(80, 80.4, peak), (80, 80)) == ["beam"]


@pytest.mark.parametrize("peak", [12, 30, 1000])
def test_a_wide_source_is_extended_by_its_area(peak):
    assert rules_at(source(80, 80, peak, Beam(20.0, 16.0, 30.0)), (80, 80)) == ["area"]


def test_two_joined_peaks_are_extended():
    image = source(80, 77, 40) + source(80, 84, 8)
    assert rules_at(image, (80, 77)) == ["peaks"]


def test_a_single_bright_pixel_is_too_narrow():
    image = source(40, 40, 60)
    image[100:102, 100:103] = 60
    assert rules_at(image, (40, 40), (100, 100)) == ["beam", "narrow"]
    assert rules_at(image, (100, 100), narrow=0) == ["beam"]


def test_beside_a_hole_as_deep_nothing_is_believed():
    image = source(80, 80, 7) - source(80, 90, 6.5)
    assert rules_at(image, (80, 80)) == ["negative"]
    far = source(80, 80, 7) - source(80, 120, 6.5)
    assert rules_at(far, (80, 80)) == ["beam"]
    shallow = source(80, 80, 20) - source(80, 90, 6.5)
    assert rules_at(shallow, (80, 80)) == ["beam"]


def test_an_antisymmetric_pair_round_a_bright_source_is_spurious():
    image = source(80, 80, 500) + source(80, 115, 7) - source(80, 45, 7)
    assert rules_at(image, (80, 80), (80, 115)) == ["beam", "mirror"]
    elsewhere = source(80, 80, 500) + source(80, 115, 7) - source(45, 80, 7)
    assert rules_at(elsewhere, (80, 115)) == ["beam"]
    faint_centre = source(80, 80, 100) + source(80, 115, 7) - source(80, 45, 7)
    assert rules_at(faint_centre, (80, 115)) == ["beam"]


@pytest.mark.parametrize("turn_deg", [0, 35, 90])
def test_a_line_that_points_at_a_bright_source_is_a_ray(turn_deg):
    turn = np.radians(turn_deg)
    middle = 80 + 40 * np.sin(turn), 80 + 40 * np.cos(turn)
    place = round(middle[0]), round(middle[1])
    image = source(80, 80, 900) + line(*middle, 24, turn_deg, 9)
    assert rules_at(image, (80, 80), place) == ["beam", "ray"]
    askew = source(80, 80, 900) + line(*middle, 24, turn_deg + 45, 9)
    assert rules_at(askew, place) == ["area"]
    assert rules_at(image, place, ratio=200) == ["area"]


def test_an_arc_about_a_bright_source_is_a_ring():
    radius, turn = np.hypot(Y - 80, X - 80), np.arctan2(Y - 80, X - 80)
    arc = 9 * np.exp(-0.5 * ((radius - 30) / 1.2) ** 2) * (np.abs(turn) < 0.8)
    assert rules_at(source(80, 80, 900) + arc, (80, 110)) == ["ring"]
    assert rules_at(arc, (80, 110)) == ["area"]
    assert rules_at(source(80, 80, 900) + 9 * np.exp(-0.5 * ((radius - 30) / 1.2) ** 2), (80, 110)) == [
        "ring"
    ]


def test_a_broad_lobe_near_a_bright_core_stays_extended():
    image = source(80, 80, 900) + source(80, 115, 12, Beam(44.0, 18.0, 90.0))
    assert rules_at(image, (80, 80), (80, 115)) == ["beam", "area"]


def test_sidelobes_leave_the_bright_source_they_hang_on():
    arms = line(80, 95, 40, 0, 20) - line(80, 65, 40, 0, 20) - line(86, 95, 40, 0, 20)
    image = np.where(source(80, 80, 600) > 40, source(80, 80, 600), source(80, 80, 600) + arms)
    scene = scene_of(image)
    assert len(scene.islands) == 1
    assert rules_at(image, (80, 80), (80, 105)) == ["beam", "negative"]


def test_a_map_without_islands_has_nothing_to_class():
    scene = trim(scene_of(np.zeros(SHAPE)), RulesConfig(), 5)
    assert len(classify(scene, RulesConfig())) == 0


def test_impossible_figures_are_refused():
    with pytest.raises(ValidationError):
        RulesConfig(ratio=0.5)
    with pytest.raises(ConfigError, match="unknown key 'raito': did you mean 'ratio'"):
        validate(RulesConfig, {"raito": 5})
