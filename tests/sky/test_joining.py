"""Islands become sources: what is joined, what is not, and on what the answer does not depend."""

import os

import numpy as np
import pytest
import yaml
from astropy.io import fits
from astropy.table import Table

from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError
from astro_dist.sky import pairs
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.config import AnnotateConfig, JoinConfig, MapsConfig
from astro_dist.sky.finder import find_islands
from astro_dist.sky.joining import GIVEN, TRUTH, Link, group_islands
from astro_dist.sky.labels import Plane
from astro_dist.sky.noise import beam_noise
from astro_dist.sky.stages import ANNOTATE
from astro_dist.sky.survey import SimulateConfig
from astro_dist.sky.windows import Window
from tests.benchmarks.joining import find_parted, open_instances, simulate
from tests.settings import make_run
from tests.sky.conftest import BEAM, PIXEL

RMS, SIDE = 2e-5, 400
Y, X = np.mgrid[:SIDE, :SIDE].astype(float)
WHOLE = Window(0, SIDE, 0, SIDE)
NOISE = beam_noise(WHOLE, BEAM, PIXEL, 5, ("joining",))


def spot(snr, y, x, wide=1.0, long=1.0, angle_deg=0.0):
    """A Gaussian ``wide`` by ``long`` beams across, its long axis at an angle from +y to +x."""
    fwhm = BEAM.fwhm_pix(PIXEL)
    turn = np.radians(angle_deg)
    along = ((Y - y) * np.cos(turn) + (X - x) * np.sin(turn)) / (long * fwhm)
    across = ((X - x) * np.cos(turn) - (Y - y) * np.sin(turn)) / (wide * fwhm)
    return snr * np.exp(-4 * np.log(2) * (along**2 + across**2))


def double(y=200.0, x=200.0, apart=48.0, snr=(60, 45), **lobe):
    """Two lobes on a line along x, centred on (y, x)."""
    shape = {"wide": 1.2, "long": 2.2, "angle_deg": 90.0} | lobe
    return spot(snr[0], y, x - apart / 2, **shape) + spot(snr[1], y, x + apart / 2, **shape)


def annotate(make_map, image, noise=True, beam=BEAM, pixel=PIXEL, **join):
    sky = RMS * (image + noise * NOISE)
    return find_islands(make_map(sky, beam, pixel), validate(AnnotateConfig, {"join": join}))


def counts(found):
    return len(found.islands), len(found.sources["source"])


def rules(found):
    return sorted(found.columns["joined_by"].tolist())


def test_two_lobes_are_one_source_with_the_flux_and_the_box_of_both(make_map):
    found = annotate(make_map, double())
    assert counts(found) == (2, 1)
    assert rules(found) == ["lobes", "lobes"]
    whole, parts = found.sources, found.columns
    assert whole["n_components"].tolist() == [2]
    assert (whole["class"][0], whole["rule"][0]) == (3, "joined")
    assert whole["flux_jy"][0] == pytest.approx(parts["flux_jy"].sum(), rel=1e-6)
    assert whole["n_pix"][0] == parts["n_pix"].sum()
    for low, high in (("y0", "y1"), ("x0", "x1")):
        assert (whole[low][0], whole[high][0]) == (parts[low].min(), parts[high].max())
    assert whole["x"][0] == pytest.approx(np.average(parts["x"], weights=parts["flux_jy"]), abs=1e-6)
    assert whole["n_peaks"][0] == parts["n_peaks"].sum()
    assert parts["source"].tolist() == [1, 1]


def test_two_unrelated_compact_sources_stay_two_at_any_distance(make_map):
    """Alike, ten beams apart, alone in the map: only the distance speaks for one source."""
    for apart in (24, 40, 80):
        found = annotate(make_map, spot(50, 200, 200 - apart / 2) + spot(45, 200, 200 + apart / 2))
        assert counts(found) == (2, 2)
        assert rules(found) == ["", ""]
        assert found.sources["n_components"].tolist() == [1, 1]
        assert found.sources["flux_jy"].tolist() == found.columns["flux_jy"].tolist()


def test_a_core_between_them_makes_two_compact_lobes_one_source(make_map):
    lobes = spot(50, 200, 170) + spot(40, 200, 230)
    found = annotate(make_map, lobes + spot(10, 201, 204))
    assert counts(found) == (3, 1)
    assert set(rules(found)) == {"core"}
    assert found.sources["n_components"].tolist() == [3]
    assert counts(annotate(make_map, lobes + spot(10, 215, 204))) == (3, 3)
    assert counts(annotate(make_map, lobes + spot(10, 200, 255))) == (3, 3)


def test_a_bridge_joins_what_no_other_rule_does(make_map):
    lobes = double(snr=(90, 15))
    bridge = spot(2.6, 200, 200, wide=2.0, long=40, angle_deg=90) * (np.abs(X - 200) < 18)
    assert counts(annotate(make_map, lobes + bridge)) == (2, 1)
    assert set(rules(annotate(make_map, lobes + bridge))) == {"bridge"}
    assert counts(annotate(make_map, lobes + bridge, bridge_beams=0)) == (2, 2)
    broken = bridge * (np.abs(X - 200) > 7)
    assert counts(annotate(make_map, lobes + broken)) == (2, 2)


def test_lobes_of_unlike_flux_and_lobes_that_point_elsewhere_are_not_joined(make_map):
    assert counts(annotate(make_map, double(snr=(90, 15)))) == (2, 2)
    assert counts(annotate(make_map, double(snr=(90, 15)), flux_ratio=10)) == (2, 1)
    assert counts(annotate(make_map, double(apart=90, long=3.0))) == (2, 1)
    assert counts(annotate(make_map, double(apart=90, long=3.0, angle_deg=0.0))) == (2, 2)


@pytest.mark.parametrize("mirror", [1, -1])
def test_whole_galaxies_many_lengths_apart_are_not_joined(make_map, mirror):
    """A small map has too few islands to count from: without a limit in lengths all three were one source."""
    places = ((60, 60, 30), (70, 240, 100), (220, 150, -20))
    image = sum(spot(200, y, x, 1.33, 2.5, angle) for y, x, angle in places) + NOISE
    sky = make_map(RMS * image[:300, :300][:, ::mirror])
    assert counts(find_islands(sky, AnnotateConfig())) == (3, 3)


def test_crowding_keeps_apart_what_alone_would_be_joined(make_map):
    """Chance is that of the map: the same two lobes among many others are nothing special."""
    rng = np.random.default_rng(3)
    places = [(y, x) for y in range(30, 400, 45) for x in range(30, 400, 45) if abs(y - 200) > 30]
    crowd = sum(
        spot(60, y + rng.uniform(-4, 4), x + rng.uniform(-4, 4), 1.2, 2.2, rng.uniform(0, 180))
        for y, x in places
    )
    alone, among = annotate(make_map, double(apart=60)), annotate(make_map, double(apart=60) + crowd)
    assert counts(alone) == (2, 1)
    here = np.abs(among.columns["y"] - 200) < 8
    assert among.columns["joined_by"][here].tolist() == ["", ""]


def test_spurious_islands_belong_to_no_source(make_map):
    """A ray beside a bright source lies near a lobe, but is no part of it."""
    found = annotate(make_map, spot(4000, 200, 200) + spot(12, 200, 226, 0.5, 4.0, 90))
    assert found.columns["class"].tolist() == [2, 1]
    assert counts(found) == (2, 2)


@pytest.mark.parametrize("turn", range(1, 8))
def test_turns_and_mirrors_change_nothing(make_map, turn):
    image = double() + spot(30, 90, 120) + double(320, 120, 30, (40, 30)) + NOISE
    whole = np.rot90(image, turn % 4)[:, :: -1 if turn > 3 else 1]
    plain, turned = annotate(make_map, image, False), annotate(make_map, whole, False)
    assert counts(plain) == counts(turned) == (5, 3)
    for name in ("joined_by", "flux_jy"):
        # Sums of float32 depend on the order of pixels in their last bits.
        a, b = (np.sort(found.columns[name]) for found in (plain, turned))
        assert a.tolist() == b.tolist() if name == "joined_by" else a == pytest.approx(b, rel=1e-5)


def test_an_oblong_beam_and_pixels_that_are_not_square_measure_in_beams(make_map):
    """The same scene in the plane where the beam is round."""
    beam, pixel = Beam(16.0, 8.0, 0.0), Pixel(4.0, 2.0)
    assert counts(annotate(make_map, double(), True, beam, pixel)) == (2, 1)
    assert counts(annotate(make_map, spot(50, 200, 180) + spot(45, 200, 220), True, beam, pixel)) == (2, 2)


def test_off_and_the_catalogue_of_islands(make_map):
    sky = make_map(RMS * (double() + NOISE))
    off = find_islands(sky, validate(AnnotateConfig, {"join": {"enabled": False}}))
    assert counts(off) == (2, 2)
    assert off.sources["source"].tolist() == [1, 2]
    old = find_islands(sky, AnnotateConfig(catalogue="islands"))
    assert old.sources is old.columns
    assert {"source", "joined_by", "flags"} & set(old.columns) == set()
    assert all(old.columns[name].tolist() == off.columns[name].tolist() for name in old.columns)


def test_no_rule_makes_a_source_longer_than_its_reach():
    centre = np.array([[0.0, 10 * i] for i in range(8)])
    links = [Link(0.01, i, i + 1, "lobes") for i in reversed(range(7))]
    assert group_islands(links, centre, 100)[0].tolist() == [1] * 8
    source, rule = group_islands(links, centre, 25)
    # The far end comes first.
    assert source.tolist() == [1, 1, 3, 3, 3, 6, 6, 6]
    assert rule.tolist() == ["lobes"] * 8
    given = [Link(0.0, 0, 7, GIVEN)]
    assert group_islands(given, centre, 25)[0].tolist() == [1, 2, 3, 4, 5, 6, 7, 1]


def test_a_table_and_labels_say_what_belongs_together(make_map, tmp_path):
    """Two compact sources become one by the user's word, and two lobes stay two."""
    image = spot(50, 100, 170) + spot(40, 100, 230) + double(300)
    sky = make_map(RMS * (image + NOISE))
    rows = np.array([(100, 170, 7), (100, 231, 7), (300, 176, 8), (300, 224, 9), (20, 20, 7)], float)
    ra, dec = sky.sky_of(rows[:, 0], rows[:, 1])
    table = tmp_path / "parts.fits"
    Table({"RA": ra, "DEC": dec, "Source_id": rows[:, 2].astype(int)}).write(table)
    labels = np.zeros(sky.shape, np.int32)
    for y, x, number in rows[:4].astype(int):
        # Different integers that are equal as 32-bit floats.
        labels[y - 3 : y + 3, x - 3 : x + 3] = number + 200_000_000
    fits.writeto(tmp_path / "labels.fits", labels)
    for join in ({"catalogue": str(table)}, {"labels": {"small": str(tmp_path / "labels.fits")}}):
        found = find_islands(sky, validate(AnnotateConfig, {"join": join}))
        assert found.columns["source"].tolist() == [1, 1, 3, 4]
        assert set(rules(found)) == {GIVEN}
        assert found.sources["n_components"].tolist() == [2, 1, 1]
    fits.writeto(tmp_path / "labels.fits", labels[:200], overwrite=True)
    with pytest.raises(ConfigError, match=r"labels.fits and the map 'small' differ in shape"):
        find_islands(sky, validate(AnnotateConfig, {"join": join}))


def test_components_of_aegean_belong_to_their_island(make_map, tmp_path):
    """Aegean counts the components of each island from 0; a table of ours counts sources."""
    places = [(60, 60), (60, 330), (200, 200), (330, 60), (330, 330)]
    sky = make_map(RMS * (sum(spot(50, y, x) for y, x in places) + NOISE))
    ra, dec = sky.sky_of(*np.array(places, float).T)
    islands = [1, 2, 3, 4, 4]
    for names, sources in (("ra,dec,int_flux", [1, 2, 3, 4, 4]), ("ra_deg,dec_deg,flux_jy", [1] * 5)):
        rows = [f"{i},0,{a},{d},0.01" for i, a, d in zip(islands, ra, dec, strict=True)]
        (tmp_path / f"{names}.csv").write_text("\n".join([f"island,source,{names}", *rows]))
        join = {"catalogue": str(tmp_path / f"{names}.csv")}
        found = find_islands(sky, validate(AnnotateConfig, {"join": join}))
        assert found.columns["source"].tolist() == sources


def test_the_columns_of_a_table_of_sources_may_be_named(make_map, tmp_path):
    places = [(60, 60), (60, 330), (330, 330)]
    sky = make_map(RMS * (sum(spot(50, y, x) for y, x in places) + NOISE))
    ra, dec = sky.sky_of(*np.array(places, float).T)
    rows = [f"{i},{a},{d}" for i, a, d in zip((7, 7, 8), ra, dec, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["Group,ra_deg,dec_deg", *rows]))
    join = {"catalogue": str(tmp_path / "t.csv"), "columns": {"source": "Group"}}
    found = find_islands(sky, validate(AnnotateConfig, {"join": join}))
    assert found.columns["source"].tolist() == [1, 1, 3]
    # Runs of older versions keep their fingerprints.
    assert "columns" not in validate(AnnotateConfig, {}).join.marks()


def look_ahead(run):
    """What a plan does with a stage that is still to run."""
    ANNOTATE.sources(run)
    ANNOTATE.refuse(run)


@pytest.mark.parametrize(
    ("join", "reason"),
    [
        ({"catalogue": "{folder}/none.fits"}, "annotate.join.catalogue: there is no file"),
        ({"catalogue": "{folder}"}, "annotate.join.catalogue: .* is a folder, a pipe or a device"),
        ({"labels": {"small": "{folder}/pipe"}}, "annotate.join.labels.small: .*pipe is a folder, a pipe"),
        ({"catalogue": "{folder}/a.csv"}, "a.csv: no column source"),
        ({"labels": {"smal": "{folder}/a.csv"}}, "there is no map 'smal': did you mean 'small'"),
        ({"labels": {"small": "{folder}/a.csv"}}, "a.csv"),
        ({"labels": {"small": "{folder}/half.fits"}}, "annotate.join.labels.small: .*half.fits .* not whole"),
    ],
)
def test_files_that_cannot_be_used_are_refused_before_anything_runs(make_map, tmp_path, join, reason):
    (tmp_path / "a.csv").write_text("ra_deg,dec_deg\n40,-35\n")
    os.mkfifo(tmp_path / "pipe")
    sky = make_map(RMS * NOISE)
    fits.writeto(tmp_path / "half.fits", np.full(sky.shape, 0.5, np.float32))
    filled = yaml.safe_load(yaml.safe_dump(join).replace("{folder}", str(tmp_path)))
    sections = {"maps": MapsConfig(files=(str(sky.path),)), "simulate": SimulateConfig()}
    run = make_run(tmp_path, seed=1, annotate=validate(AnnotateConfig, {"join": filled}), **sections)
    with pytest.raises(ConfigError, match=reason):
        look_ahead(run)


def test_islands_of_a_simulated_map_are_joined_as_they_were_drawn(tmp_path):
    """`python -m tests.benchmarks.joining --truth configs/quickstart.yaml` counts the whole quick start."""
    sky = SimulateConfig(shape=(700, 700), extended_per_1000_beams=0.8)
    ((sky_map, drawn),) = simulate(tmp_path, sky, 4)
    by_truth = find_islands(sky_map, AnnotateConfig(), open_instances(sky_map))
    counted = find_parted(by_truth, drawn)
    assert len(counted["several"]) >= 6
    assert counted["parted"] == counted["mixed"] == []
    assert set(rules(by_truth)) == {"", TRUTH}
    assert (by_truth.sources["n_components"] > 1).sum() == len(counted["several"])
    assert find_parted(find_islands(sky_map, AnnotateConfig()), drawn)["parted"]


def test_gaps_are_those_of_all_pairs_of_pixels(make_map, monkeypatch):
    """Of large islands few pixels are compared; the same gaps and the same pixels are found."""
    rng = np.random.default_rng(8)
    image = sum(
        spot(80, *rng.uniform(30, 370, 2), *rng.uniform(1, 4, 2), rng.uniform(0, 180)) for _ in range(25)
    )
    for beam in (BEAM, Beam(16.0, 8.0, 30.0)):
        sky = make_map(RMS * (image + NOISE), beam, Pixel(4.0, 2.0))
        found = find_islands(sky, AnnotateConfig())
        facts = found.columns["class"], found.columns["flux_jy"], beam, sky.pixel, sky.shape, 1.4e9
        compared = []
        for most in (0, 10**9):
            monkeypatch.setattr(pairs, "MOST_DISTANCES", most)
            compared.append(
                pairs.compare_pairs(pairs.Candidates(found.islands, *facts), JoinConfig(chance=1))
            )
        some, whole = compared
        assert len(whole.gap) > 20
        assert np.array_equal(some.gap, whole.gap)
        assert np.array_equal(some.ends, whole.ends)


def test_an_island_over_two_galaxies_joins_neither_to_the_other(make_map, tmp_path):
    """Two pairs of spots on one line; the inner two touch, and the brighter one's galaxy has that island."""
    places = [(200, 100, 40), (200, 196, 60), (200, 203, 30), (200, 300, 40)]
    sky = make_map(RMS * (sum(spot(snr, y, x) for y, x, snr in places) + NOISE))
    numbers = np.zeros((SIDE, SIDE), np.int32)
    for y, x, number in ((200, 100, 7), (200, 195, 7), (200, 205, 9), (200, 300, 9)):
        numbers[y - 12 : y + 13, x - 5 : x + 5] = number
    fits.writeto(tmp_path / "numbers.fits", numbers)
    found = find_islands(sky, AnnotateConfig(), Plane.open(tmp_path / "numbers.fits", 1))
    left, both, right = np.argsort(found.columns["x"])
    source = found.columns["source"]
    assert source[left] == source[both] != source[right]
    assert found.columns["joined_by"][[left, both, right]].tolist() == [TRUTH, TRUTH, ""]
    numbers[:] = 0
    fits.writeto(tmp_path / "numbers.fits", numbers, overwrite=True)
    found = find_islands(sky, AnnotateConfig(), Plane.open(tmp_path / "numbers.fits", 1))
    assert found.columns["source"].tolist() == [1, 2, 3]
