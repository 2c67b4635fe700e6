"""Other people's programs on a map: ``python -m tests.end_to_end.finders NAME MAP`` prints JSON.

Each runs in a process of its own: PyBDSF is under the GPL, and all set up logging and warnings as they like.
"""

import importlib.metadata
import json
import sys
import tempfile


def pybdsf(path):
    """Return what PyBDSF takes from the header, and the sources that it finds."""
    import bdsf

    with tempfile.TemporaryDirectory() as folder:
        image = bdsf.process_image(path, quiet=True, outdir=folder, ncores=1)
    sources = [
        {
            "ra_deg": s.posn_sky_centroid[0],
            "dec_deg": s.posn_sky_centroid[1],
            "flux_jy": s.total_flux,
            "axes_deg": list(s.size_sky[:2]),
        }
        for s in image.sources
    ]
    return {"frequency_hz": image.frequency, "beam_deg": image.beam, "sources": sources}


def aegean(path):
    """Return the components that Aegean finds, with backgrounds and noise of its own."""
    import logging

    from AegeanTools.source_finder import SourceFinder

    finder = SourceFinder(log=logging.getLogger("aegean"))
    found = finder.find_sources_in_image(path, cores=1)
    return {
        "beam_deg": [float(v) for v in (finder.beam.a, finder.beam.b, finder.beam.pa)],
        "sources": [
            {
                "ra_deg": float(s.ra),
                "dec_deg": float(s.dec),
                "flux_jy": float(s.int_flux),
                "axes_deg": [float(s.a) / 3600, float(s.b) / 3600],
            }
            for s in found
        ],
    }


def casacore(path):
    """Return what the library of CASA and CARTA reads of an image."""
    from casacore.images import image

    opened = image(path)
    beam = opened.imageinfo()["restoringbeam"]
    corner = opened.toworld([0, 0])
    return {
        "shape": opened.shape(),
        "unit": opened.unit(),
        "axes": [list(names) for names in opened.coordinates().get_axes()],
        "beam": {name: [one["value"], one["unit"]] for name, one in beam.items()},
        "corner_rad": list(corner),
        "sum": float(opened.getdata().sum(dtype="f8")),
    }


PACKAGES = {"pybdsf": "bdsf", "aegean": "AegeanTools", "casacore": "python-casacore"}

if __name__ == "__main__":
    name, path = sys.argv[1:]
    found = globals()[name](path) | {"version": importlib.metadata.version(PACKAGES[name])}
    # The last line: the programs print what they like before.
    print("\n" + json.dumps(found, default=float))
