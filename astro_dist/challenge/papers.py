"""The texts of a package: README, licence, citation, and its description as RO-Crate and as Croissant."""

import os
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from astro_dist import __version__
from astro_dist.challenge.about import About
from astro_dist.challenge.names import BITS, MANIFEST, TILES, VIEWER
from astro_dist.challenge.origins import SIMULATED, Origin
from astro_dist.engine.files import publish_bytes, publish_json, sha256_file, tree_files
from astro_dist.sky.fits_tables import Column

LISTS = {"croissant.json", "ro-crate-metadata.json", MANIFEST}
MEDIA = {
    ".fits": "application/fits",
    ".parquet": "application/x-parquet",
    ".vot": "application/x-votable+xml",
    ".json": "application/json",
    ".csv": "text/csv",
    ".md": "text/markdown",
    ".cff": "text/yaml",
}
HIPS_LINE = "| `hips/` | the map as HiPS tiles, for Aladin and others, and its coverage, `Moc.fits` |\n"
TYPES = {"f": "sc:Float", "i": "sc:Integer", "u": "sc:Integer", "U": "sc:Text"}
LICENSE = """\
# Terms

The map was made from the following, and their terms hold for it:

{origins}

{rest}
"""


def write_papers(
    folder: Path, about: About, origins: Sequence[Origin], columns: Mapping[str, Column]
) -> None:
    """Write README.md, LICENSE.md and CITATION.cff into the public part; ``columns`` are the truth's."""
    hips = (folder / TILES).is_dir()
    publish_bytes(folder / "README.md", _readme(about, hips, columns).encode())
    publish_bytes(folder / "LICENSE.md", _licence(origins).encode())
    publish_bytes(folder / "CITATION.cff", "\n".join([*_citation(about, origins), ""]).encode())


def _readme(about: About, hips: bool, truth: Mapping[str, Column]) -> str:
    box, frequency = about.areas.training, about.frequency_hz
    columns = [f"| `{name}` | {c.unit} | {c.meaning} |" for name, c in truth.items()]
    text = files("astro_dist.challenge").joinpath("readme.txt").read_text(encoding="utf-8")
    return text.format(
        name=about.name,
        version=__version__,
        ny=about.shape[0],
        nx=about.shape[1],
        dy=about.pixel.dy_arcsec,
        dx=about.pixel.dx_arcsec,
        major=about.beam.major_arcsec,
        minor=about.beam.minor_arcsec,
        frequency="" if frequency is None else f", {frequency / 1e9:g} GHz",
        bits=", ".join(f"{bit} {name.replace('_', ' ')}" for name, bit in BITS.items()),
        **{"y0": box.y0, "y1": box.y1, "x0": box.x0, "x1": box.x1},
        guard=about.areas.guard_pix,
        snr=about.detect_snr,
        folder="PACKAGE",
        columns="\n".join(columns),
        tiles=HIPS_LINE if hips else "",
    )


def _licence(origins: Sequence[Origin]) -> str:
    listed = "\n".join(f"* {origin.what}: {origin.terms}" for origin in origins) or "* nothing of others"
    only_ours = all(origin.what == SIMULATED for origin in origins)
    rest = "astro_dist itself is under the BSD 3-Clause licence and asks nothing of what it makes."
    return LICENSE.format(
        origins=listed, rest=rest if only_ours else f"Use the map as the strictest of these allows. {rest}"
    )


def _citation(about: About, origins: Sequence[Origin]) -> list[str]:
    lines = [
        "cff-version: 1.2.0",
        "message: If you use this data set, please cite it and what it was made from.",
        f'title: "{_plain(_title(about))}"',
        "type: dataset",
        f'version: "{__version__}"',
        "authors:",
        "  - name: The organisers of the challenge",
        "references:",
        "  - type: software",
        "    title: astro_dist",
        "    authors:",
        "      - name: The astro_dist developers",
    ]
    for origin in origins:
        for cited in origin.cite:
            lines += ["  - type: article", f'    title: "{cited}, of {_plain(origin.what)}"', "    authors:"]
            lines += [f"      - name: {cited.rpartition(' ')[0]}"]
    return lines


def _title(about: About) -> str:
    return f"{about.name}: a data challenge on a synthetic radio map"


def _plain(text: str) -> str:
    return text.replace("\\", "").replace('"', "")


def write_metadata(
    folder: Path,
    about: About,
    origins: Sequence[Origin],
    columns: Mapping[str, Column],
    kinds: Mapping[str, str],
) -> None:
    """Write ``ro-crate-metadata.json`` and ``croissant.json``, which list all other files of the part.

    Parameters
    ----------
    columns, kinds
        The columns of the truth, and the kind of numpy's type of each.
    """
    # A second call must not list what the first one wrote. Viewer and tiles hold the map once more.
    paths = [
        path
        for path in tree_files(folder)
        if path.name not in LISTS and path.relative_to(folder).parts[0] not in (VIEWER, TILES)
    ]
    listed = [_describe_file(folder, path) for path in paths]
    publish_json(folder / "croissant.json", _croissant(about, listed, origins, columns, kinds))
    listed.append(_describe_file(folder, folder / "croissant.json"))
    publish_json(folder / "ro-crate-metadata.json", _crate(about, listed, origins, (folder / TILES).is_dir()))


def _describe_file(folder: Path, path: Path) -> dict[str, Any]:
    return {
        "name": path.relative_to(folder).as_posix(),
        "media": MEDIA.get(path.suffix, "text/plain"),
        "bytes": path.stat().st_size,
        "sha256": sha256_file(path),
    }


def _date() -> dict[str, str]:
    """Return the date that SOURCE_DATE_EPOCH gives; without it nothing, as no clock is read."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return {} if epoch is None else {"datePublished": time.strftime("%Y-%m-%d", time.gmtime(int(epoch)))}


def _crate(
    about: About, listed: Sequence[Mapping[str, Any]], origins: Sequence[Origin], hips: bool
) -> dict[str, Any]:
    """Return the description of RO-Crate 1.1, with its date where SOURCE_DATE_EPOCH gives one."""
    looked = {f"{VIEWER}/": "The map in a browser: open index.html"}
    looked |= {f"{TILES}/": "The map as HiPS tiles, with its coverage"} if hips else {}
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": about.name,
        "description": "A data challenge on a synthetic radio map, with the truth of its training area",
        "license": {"@id": "LICENSE.md"},
        "hasPart": [{"@id": one} for one in (*(one["name"] for one in listed), *looked)],
        "isBasedOn": [{"@id": f"#origin-{i}"} for i in range(len(origins))],
        **_date(),
    }
    descriptor = {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        "about": {"@id": "./"},
    }
    parts = [
        {
            "@id": one["name"],
            "@type": "File",
            "name": one["name"],
            "encodingFormat": one["media"],
            "contentSize": str(one["bytes"]),
            "sha256": one["sha256"],
        }
        for one in listed
    ]
    folders = [{"@id": name, "@type": "Dataset", "name": what} for name, what in looked.items()]
    based = [
        {"@id": f"#origin-{i}", "@type": "CreativeWork", "name": o.what, "usageInfo": o.terms}
        for i, o in enumerate(origins)
    ]
    context = ["https://w3id.org/ro/crate/1.1/context", {"sha256": "https://schema.org/sha256"}]
    return {"@context": context, "@graph": [descriptor, root, *parts, *folders, *based]}


_TERMS = (
    *("citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet"),
    *("format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet"),
    *("references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField"),
    "transform",
)
CONTEXT = {
    **{term: f"cr:{term}" for term in _TERMS},
    "@language": "en",
    "@vocab": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}
"""That of Croissant 1.0, word for word: its readers warn of any other."""


def _croissant(
    about: About,
    listed: Sequence[Mapping[str, Any]],
    origins: Sequence[Origin],
    columns: Mapping[str, Column],
    kinds: Mapping[str, str],
) -> dict[str, Any]:
    """Return the description of Croissant 1.0: every file, and the columns of the open truth."""
    table = "training/truth.parquet"
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"truth/{name}",
            "name": name,
            "description": column.meaning,
            "dataType": TYPES[kinds[name]],
            "source": {"fileObject": {"@id": table}, "extract": {"column": name}},
        }
        for name, column in columns.items()
    ]
    parts = [
        {
            "@type": "cr:FileObject",
            "@id": one["name"],
            "name": one["name"],
            "contentUrl": one["name"],
            "contentSize": f"{one['bytes']} B",
            "encodingFormat": one["media"],
            "sha256": one["sha256"],
        }
        for one in listed
    ]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": about.name,
        "description": "A data challenge on a synthetic radio map, with the truth of its training area",
        "license": "LICENSE.md",
        "citeAs": "; ".join([_title(about), *(cited for origin in origins for cited in origin.cite)]),
        **_date(),
        "version": "1.0.0",
        "distribution": parts,
        "recordSet": [{"@type": "cr:RecordSet", "@id": "truth", "name": "truth", "field": fields}],
    }
