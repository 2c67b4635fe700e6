"""What a package says of itself to programs: ``challenge.json``, and the manifests of its two parts."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from astro_dist.challenge.area import Areas
from astro_dist.challenge.names import (
    ABOUT,
    BITS,
    FORMAT,
    HIDDEN,
    MANIFEST,
    MAP,
    POPULATIONS,
    PSF,
    PUBLIC,
    RMS,
    find_part,
)
from astro_dist.engine.errors import ConfigError, IntegrityError
from astro_dist.engine.files import publish_json, sha256_file, tree_digests
from astro_dist.engine.foreign import read_mapping
from astro_dist.sky.beams import Beam, Pixel
from astro_dist.sky.classes import CLASS_NAMES
from astro_dist.sky.windows import Window

MANIFEST_BYTES = 1 << 24


@dataclass(frozen=True)
class About:
    """The field of a challenge, and its areas.

    Attributes
    ----------
    name
        Name of the challenge.
    shape
        ``(ny, nx)``.
    beam, pixel
        The beam, its angle from +y towards -x, and the size of a pixel.
    frequency_hz
        None where the map states none.
    detect_snr
        Signal-to-noise from which a source counts as detectable.
    areas
        Training area and frame.
    tile_pix
        Side of the tiles of COCO annotations.
    """

    name: str
    shape: tuple[int, int]
    beam: Beam
    pixel: Pixel
    frequency_hz: float | None
    detect_snr: float
    areas: Areas
    tile_pix: int

    def document(self) -> dict[str, Any]:
        """Return the mapping that ``challenge.json`` holds."""
        return {
            "format": FORMAT,
            "name": self.name,
            "shape": list(self.shape),
            "beam": asdict(self.beam),
            "pixel": asdict(self.pixel),
            "frequency_hz": self.frequency_hz,
            # A run has one field in one band so far, and states no primary beam.
            "fields": 1,
            "bands": [{"frequency_hz": self.frequency_hz, "map": MAP, "rms": RMS, "psf": PSF}],
            "primary_beam": None,
            "detect_snr": self.detect_snr,
            "training": asdict(self.areas.training),
            "guard_pix": self.areas.guard_pix,
            "tile_pix": self.tile_pix,
            "classes": dict(enumerate(CLASS_NAMES)),
            "populations": POPULATIONS,
            "score_mask_bits": BITS,
        }

    @classmethod
    def read(cls, folder: Path) -> "About":
        """Return what the public part of a package says.

        Raises
        ------
        ConfigError
            The folder holds no package, or one of another version.
        """
        path = find_part(folder, PUBLIC) / ABOUT
        if not path.is_file():
            raise ConfigError(
                f"{folder} holds no challenge: there is no {ABOUT}; name the folder of a package"
            )
        try:
            said = read_mapping(path)
            if said.get("format") != FORMAT:
                raise ConfigError(f"format {said.get('format')!r}, this version reads {FORMAT}")
            shape = int(said["shape"][0]), int(said["shape"][1])
            return cls(
                name=str(said["name"]),
                shape=shape,
                beam=Beam(**said["beam"]),
                pixel=Pixel(**said["pixel"]),
                frequency_hz=said["frequency_hz"],
                detect_snr=float(said["detect_snr"]),
                areas=Areas(shape, Window(**said["training"]), int(said["guard_pix"])),
                tile_pix=int(said["tile_pix"]),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ConfigError(f"{path}: not as a package writes it ({error!r}); fetch it again") from None
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None


def write_manifest(folder: Path) -> None:
    """Write the sha256 of every file of a part of a package."""
    digests = tree_digests(folder)
    publish_json(folder / MANIFEST, {name: digest for name, digest in digests.items() if name != MANIFEST})


def is_package(path: Path) -> bool:
    """Return whether a folder is a package or its public part."""
    return (find_part(path, PUBLIC) / ABOUT).is_file()


def verify_package(path: Path) -> list[str]:
    """Return a line for each file of a package that is not the one of its manifest."""
    parts = [path / name for name in (PUBLIC, HIDDEN) if (path / name).is_dir()] or [path]
    return [fault for part in parts for fault in _verify_part(part)]


def check_files(folder: Path, names: Iterable[str]) -> None:
    """Raise `IntegrityError` where a file of a part of a package is not the one of its manifest."""
    stated = _read_manifest(folder)
    for name in names:
        path = folder / name
        found = sha256_file(path) if path.is_file() else None
        if found != stated.get(name):
            raise IntegrityError(f"{path}: {_fault(stated.get(name), found)}; fetch the package again")


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        return read_mapping(folder / MANIFEST, MANIFEST_BYTES)
    except ConfigError as error:
        raise IntegrityError(f"{folder / MANIFEST}: {error}") from None


def _verify_part(folder: Path) -> list[str]:
    stated = _read_manifest(folder)
    found = {name: digest for name, digest in tree_digests(folder).items() if name != MANIFEST}
    return [
        f"{folder / name}: {_fault(stated.get(name), found.get(name))}"
        for name in sorted(stated.keys() | found.keys())
        if stated.get(name) != found.get(name)
    ]


def _fault(stated: object, found: object) -> str:
    if found is None:
        return "is missing"
    return "has other bytes than were published" if stated is not None else "is in no manifest"
