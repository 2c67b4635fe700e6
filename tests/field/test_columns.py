"""Every column of every table has a UCD that exists and a meaning that fits a card; no other is written."""

import numpy as np
import pytest
from astropy.io.votable.ucd import parse_ucd
from astropy.units import Unit

from astro_dist.field import columns, components, library, truth
from astro_dist.field.columns import write_columns_file
from astro_dist.sky import catalogue, simulate
from astro_dist.sky.fits_tables import write_table

TABLES = {
    "measured": catalogue.COLUMNS,
    "simulated": simulate.COLUMNS,
    "truth": columns.COLUMNS,
    "placements": columns.PLACEMENT_COLUMNS,
    "layout": columns.LAYOUT_COLUMNS,
    "components": components.COMPONENT_COLUMNS,
    "overlaps": truth.OVERLAP_COLUMNS,
    "objects": library.OBJECT_COLUMNS,
}


@pytest.mark.parametrize("about", TABLES.values(), ids=TABLES)
def test_units_ucds_and_meanings(about):
    for name, column in about.items():
        parse_ucd(column.ucd, check_controlled_vocabulary=True, has_colon=True)
        # A longer text would be carried on in further cards, which not every reader of TCOMM follows.
        assert 0 < len(column.meaning) <= 68, name
        assert column.meaning.isascii()
        Unit(column.unit, format="fits")
        # A unit that a name ends in is the unit of the column.
        for end, unit in (("_deg", "deg"), ("_arcsec", "arcsec"), ("_jy", "Jy"), ("_jy_beam", "Jy/beam")):
            assert not name.endswith(end) or column.unit == unit, name


def test_a_column_without_a_description_is_not_written(tmp_path):
    with pytest.raises(KeyError, match="colour"):
        write_table(tmp_path / "t.fits", {"colour": np.zeros(2)}, columns.COLUMNS, name="TRUTH")
    with pytest.raises(KeyError, match="colour"):
        write_columns_file(tmp_path / "t.parquet", {"colour": np.zeros(2)})
    assert list(tmp_path.iterdir()) == []
