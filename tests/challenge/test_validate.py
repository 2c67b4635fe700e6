"""Every fault of a catalogue by row and column, in every form, with a bound on what is printed."""

import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from astro_dist.challenge.about import About
from astro_dist.challenge.validate import MOST_SHOWN, validate_file, validate_files
from astro_dist.engine.errors import ConfigError
from astro_dist.sky.config import MapsConfig
from astro_dist.sky.maps import SkyMap
from astro_dist.sky.table_rows import open_rows

NAMES = ("ra_deg", "dec_deg", "flux_jy")


@pytest.fixture(scope="module")
def check(folder):
    field = SkyMap.open(folder / "public/map.fits", MapsConfig(), verify=False)
    about = About.read(folder)

    def call(path):
        faults, notes = validate_file(path, about, field)
        assert faults.total >= len(faults.shown)
        return list(faults.lines()), notes

    return call


def good(n=6):
    """Rows in the middle of the map, apart from each other."""
    steps = np.arange(n) * 1e-4
    return {"ra_deg": 180 + steps, "dec_deg": -30 + steps, "flux_jy": np.full(n, 1e-3)}


def write_csv(path, columns):
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows), ""]))
    return path


def write_text(path, columns):
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([" ".join(columns), *("  ".join(map(str, row)) for row in rows), ""]))
    return path


def write_table(path, columns):
    Table(columns).write(path, overwrite=True, **({"format": "votable"} if path.suffix == ".vot" else {}))
    return path


FORMS = {".csv": write_csv, ".txt": write_text, ".fits": write_table, ".vot": write_table, ".parquet": None}


def write(path, columns):
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({name: np.asarray(values) for name, values in columns.items()}), path)
        return path
    return FORMS[path.suffix](path, columns)


@pytest.mark.parametrize("form", FORMS)
def test_a_good_catalogue_has_no_fault(check, tmp_path, form):
    assert check(write(tmp_path / f"good{form}", good())) == ([], [])


@pytest.mark.parametrize("form", FORMS)
def test_faults_name_their_row_and_column(check, tmp_path, form):
    columns = good(8)
    columns["flux_jy"] = np.array([1e-3, -2e-3, 1e-3, np.nan, 1e-3, 0, 1e-3, 1e-3])
    columns["ra_deg"][2], columns["dec_deg"][4] = 10.0, -100.0
    columns["ra_deg"][6], columns["dec_deg"][6] = columns["ra_deg"][0], columns["dec_deg"][0]
    columns |= {"core_fraction": np.full(8, 0.5), "class": np.full(8, 2)}
    columns["core_fraction"][7], columns["class"][1] = 1.5, 4
    lines, _ = check(write(tmp_path / f"bad{form}", columns))
    assert sorted(lines) == sorted(
        [
            "row 2, flux_jy: -0.002 is not positive",
            "row 6, flux_jy: 0 is not positive",
            "row 4, flux_jy: nan is no number",
            "row 5, dec_deg: -100 is no declination in degrees",
            "row 3, position: (10.0, -29.9998) is not in the map",
            "row 7, position: is that of row 1",
            "row 8, core_fraction: 1.5 is not from 0 to 1",
            "row 2, class: 4 is none of 2, 3",
        ]
    )


def test_texts_gaps_and_short_rows(check, tmp_path):
    path = tmp_path / "texts.csv"
    path.write_text(
        "ra_deg,dec_deg,flux_jy\n180,-30,1e-3\n180.001,-30,abc\n180.002,,1e-3\n180.003,-30\n180.004,-30,x\n"
    )
    lines, _ = check(path)
    assert lines == [
        "row 3, dec_deg: '' is no number",
        "row 2, flux_jy: 'abc' is no number",
        "row 5, flux_jy: 'x' is no number",
        "row 4, row: 2 cells where 3 are wanted",
    ]
    path = tmp_path / "short.txt"
    path.write_text("ra_deg dec_deg flux_jy\n180 -30 1e-3\n180.001 -30\n# a remark\n180.002 -30 oops\n")
    assert check(path)[0] == ["row 3, flux_jy: 'oops' is no number", "row 2, row: 2 cells where 3 are wanted"]


def test_positions_may_be_texts_of_hours(check, tmp_path):
    path = tmp_path / "hours.csv"
    path.write_text("RA,Dec,flux_jy\n12:00:00.1,-30:00:01,1e-3\n12:00:99,-30:00:02,1e-3\n")
    assert check(path)[0] == ["row 2, RA: '12:00:99' is no number"]


def test_at_most_fifty_are_shown_and_the_rest_counted(check, tmp_path):
    n = 400
    columns = good(n)
    columns["flux_jy"][: n - 100] = -1.0
    columns["dec_deg"][n - 100 :] = 45.0
    lines, _ = check(write_csv(tmp_path / "many.csv", columns))
    assert len(lines) == MOST_SHOWN + 2
    assert lines[0] == "row 1, flux_jy: -1 is not positive"
    assert lines[MOST_SHOWN:] == [
        "and 250 more: flux_jy is not positive",
        "and 100 more: position is not in the map",
    ]


def test_missing_columns_units_and_frames(check, tmp_path):
    columns = good()
    path = tmp_path / "galactic.csv"
    write_csv(path, {"GLON": columns["ra_deg"], "GLAT": columns["dec_deg"], "flux_jy": columns["flux_jy"]})
    assert check(path)[0] == [
        "ra_deg: is missing; the table has GLAT, GLON, flux_jy",
        "dec_deg: is missing; the table has GLAT, GLON, flux_jy",
        "positions: are galactic; give right ascension and declination, ICRS",
    ]
    table = Table(columns)
    table["flux_jy"].unit = "K"
    table.write(tmp_path / "kelvin.fits")
    (line,) = check(tmp_path / "kelvin.fits")[0]
    assert line.startswith("flux_jy: the column flux_jy has the unit K instead of Jy; convert it")
    table = Table({**columns, "intrinsic_major_arcsec": np.ones(6)})
    table["intrinsic_major_arcsec"].unit = "deg"
    table.write(tmp_path / "deg.fits")
    assert check(tmp_path / "deg.fits")[0] == [
        "intrinsic_major_arcsec: has the unit deg instead of arcsec; convert it"
    ]
    hdu = fits.BinTableHDU(Table(columns))
    hdu.header["RADESYS"] = "FK4"
    hdu.writeto(tmp_path / "fk4.fits")
    assert check(tmp_path / "fk4.fits")[0] == [
        "positions: are in FK4; give right ascension and declination, ICRS"
    ]
    votable = tmp_path / "b.vot"
    write_table(votable, columns)
    text = votable.read_text().replace("<TABLE", '<COOSYS ID="s" system="galactic"/><TABLE', 1)
    votable.write_text(text)
    assert check(votable)[0] == ["positions: are in galactic; give right ascension and declination, ICRS"]


def test_fluxes_in_other_units_are_converted(check, tmp_path):
    table = Table(good())
    table["flux_jy"].unit, table["flux_jy"].name = "mJy", "Total_flux"
    table.write(tmp_path / "mjy.fits")
    assert check(tmp_path / "mjy.fits")[0] == []


def test_sdc1_text_is_checked_by_its_own_columns(check, folder, tmp_path):
    rows = np.loadtxt(folder / "hidden/truth_sdc1.txt")[:9]
    path = tmp_path / "sdc1.txt"
    np.savetxt(path, rows, fmt="%.9g")
    assert check(path)[0] == []
    rows[3, 0], rows[4, 7], rows[5, 11], rows[6, 6] = rows[2, 0], -1, 4, 2
    np.savetxt(path, rows, fmt="%.9g")
    lines, notes = check(path)
    assert lines == [
        "row 7, core_frac: 2 is not from 0 to 1",
        "row 5, b_maj: -1 is no width in arcsec",
        "row 6, class: 4 is none of 1, 2, 3",
        "row 4, id: is that of row 3",
    ]
    assert "taken as those of SDC1" in notes[0]


def test_gaps_of_fits_integers_are_faults(check, tmp_path):
    columns = good(3)
    table = Table({**columns, "class": MaskedColumn([2, 3, 2], mask=[False, True, False])})
    table.write(tmp_path / "gap.fits")
    assert check(tmp_path / "gap.fits")[0] == ["row 2, class: nan is no number"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file: it has no rows"),
        (b"ra_deg,dec_deg,flux_jy\n", "the file: holds no row"),
        (b"\x00\x01\x02", "the file: it is no text; is it a table?"),
        (b"SIMPLE  = ", "the file: "),
        (b"\x1f\x8b\x08\x00", "the file: "),
        (b"<?xml version='1.0'?><VOTABLE><oops>", "the file: its XML breaks off"),
        (b"<!DOCTYPE x [<!ENTITY a 'a'>]><VOTABLE>&a;", "the file: it is XML, but begins as no VOTable"),
    ],
)
def test_what_is_no_table_is_one_fault(check, tmp_path, content, said):
    path = tmp_path / "strange.csv"
    path.write_bytes(content)
    (line,) = check(path)[0]
    assert line.startswith(said)


def test_files_are_named_and_counted(folder, tmp_path, capsys):
    one, other = write_csv(tmp_path / "one.csv", good()), tmp_path / "other.csv"
    write_csv(other, {**good(), "flux_jy": np.full(6, -1.0)})
    with pytest.raises(ConfigError, match=r"other\.csv has 6 faults; hand it in when"):
        validate_files([one, other], folder / "public")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{one}: can be scored"
    assert said[1] == f"{other}: row 1, flux_jy: -1 is not positive"
    assert len(said) == 7
    assert validate_files([one], folder) == 0


def test_what_the_package_gives_out_can_be_handed_in(folder, check):
    for name in (
        "submission/template.csv",
        "training/truth.fits",
        "training/truth.vot",
        "training/truth_sdc1.txt",
    ):
        assert check(folder / "public" / name)[0] == []
    for name in ("mask.fits", "coco.json"):
        assert check(folder / "hidden" / name)[0] == []


MEASURE = """
import resource, sys
from pathlib import Path
from astro_dist.challenge.about import About
from astro_dist.challenge.validate import validate_file
from astro_dist.sky.maps import MapsConfig, SkyMap
package, path = map(Path, sys.argv[1:])
field = SkyMap.open(package / "public/map.fits", MapsConfig(), verify=False)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
faults, _ = validate_file(path, About.read(package), field)
print(faults.total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def write_many(path, n):
    """Rows of which every thousandth has no position in the map."""
    rng = np.random.default_rng(1)
    step = 100_000
    with path.open("w") as handle:
        handle.write("ra_deg,dec_deg,flux_jy\n")
        for first in range(0, n, step):
            count = min(step, n - first)
            ra, dec = 180 + rng.uniform(-0.1, 0.1, count), -30 + rng.uniform(-0.1, 0.1, count)
            dec[::1000] = 10
            np.savetxt(handle, np.stack([ra, dec, np.full(count, 1e-3)], 1), fmt="%.9f,%.9f,%.3e")


def check_memory(folder, tmp_path, n, most_kb):
    path = tmp_path / "many.csv"
    write_many(path, n)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, folder, path], capture_output=True, text=True, check=True
    )
    total, used = map(int, done.stdout.split())
    assert total == n // 1000
    assert used < most_kb, used


def test_memory_does_not_grow_with_the_file(folder, tmp_path):
    check_memory(folder, tmp_path, 300_000, 200_000)


@pytest.mark.soak
def test_ten_million_rows_take_less_than_a_gigabyte(folder, tmp_path):
    check_memory(folder, tmp_path, 10_000_000, 600_000)


def test_row_numbers_hold_over_blocks_and_bad_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("astro_dist.sky.table_rows.BLOCK_BYTES", 1 << 12)
    monkeypatch.setattr("astro_dist.sky.table_rows.ROWS_AT_ONCE", 100)
    for end, mark in ((".csv", ","), (".txt", " ")):
        path = tmp_path / f"rows{end}"
        lines = [mark.join(NAMES)]
        lines += [mark.join(["1", "2", str(i)][: 2 if i % 97 == 0 else 3]) for i in range(1, 2001)]
        path.write_text("\n".join(lines))
        table = open_rows(path, lambda names: True)
        blocks = [(rows, cells["flux_jy"]) for rows, cells in table.read(["flux_jy"])]
        assert len(blocks) > 3
        rows, values = (np.concatenate(some) for some in zip(*blocks, strict=True))
        assert np.array_equal(rows, values)
        assert [row for row, _ in table.bad_rows] == list(range(97, 2001, 97))


def strange_files(folder):
    """Write tables that no reader can make numbers of; return each with what is said of it."""
    twice = folder / "twice.csv"
    twice.write_text("ra_deg,dec_deg,flux_jy,ra_deg\n180,-30,0.1,3\n")
    cut = folder / "cut.parquet"
    cut.write_bytes(b"PAR1xxxxPAR1")
    damaged = write(folder / "damaged.parquet", good(2000))
    whole = bytearray(damaged.read_bytes())
    whole[4:2000] = bytes(1996)
    damaged.write_bytes(whole)
    arrays, complexes = folder / "arrays.fits", folder / "complex.fits"
    Table({**good(1), "ra_deg": [[1.0, 2.0]]}).write(arrays)
    Table({**good(1), "flux_jy": [1 + 2j]}).write(complexes)
    return {
        twice: "the column ra_deg comes twice",
        cut: "no parquet file, or one cut short",
        damaged: "no parquet file, or one cut short",
        arrays: "divide it",
        complexes: "divide it",
    }


def test_strange_files_are_one_fault_and_have_no_score(check, judge, tmp_path):
    for path, said in strange_files(tmp_path).items():
        assert any(said in line for line in check(path)[0]), path
        with pytest.raises(ConfigError) as raised:
            judge.score(path)
        assert "\n" not in str(raised.value)
        assert str(path) in str(raised.value)
