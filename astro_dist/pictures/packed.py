"""Pictures in one file: HDF5 or npz with ``images`` (N, height, width[, planes]) uint8 and ``ans`` (N).

Sizes are read and bounded before any pixel is; pixels are read picture by picture. Nothing is unpickled.
"""

import zipfile
import zlib
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from astro_dist.engine.errors import ConfigError, DataError
from astro_dist.engine.foreign import check_regular, expand_home
from astro_dist.pictures.config import PicturesConfig
from astro_dist.pictures.decode import make_square
from astro_dist.pictures.source import Entry

IMAGES, ANSWERS = "images", "ans"
MOST_PICTURES, MOST_CHUNK_BYTES = 5_000_000, 1 << 28
HDF5_SUFFIXES = (".h5", ".hdf5", ".he5")


class PackedSource:
    """The pictures of an HDF5 or npz file; a `astro_dist.pictures.source.Source`."""

    def __init__(self, config: PicturesConfig) -> None:
        self.config, self.path = config, expand_home(config.file or "")
        self.notes: list[str] = []
        try:
            check_regular(self.path)
            is_hdf5 = self.path.suffix.lower() in HDF5_SUFFIXES
            self.file: _Hdf5 | _Npz = _Hdf5(self.path) if is_hdf5 else _Npz(self.path)
            _check_shape(self.file.shape, self.file.dtype, config.largest_pix)
            if self.file.answers.shape != self.file.shape[:1]:
                raise ConfigError(f"{ANSWERS} has not one number for each of {self.file.shape[0]} pictures")
        except ConfigError as error:
            raise ConfigError(f"pictures.file {self.path}: {error}") from None

    @cached_property
    def entries(self) -> list[Entry]:
        """All pictures, by number; classes are named by the settings, otherwise by their numbers."""
        names, answers = self.config.classes, self.file.answers.tolist()
        if names and max(answers, default=0) >= len(names):
            raise ConfigError(
                f"pictures.classes: {len(names)} names, and {self.path} has the answer {max(answers)}; "
                "name all answers from 0 on"
            )
        width = len(str(max(answers, default=0)))
        labels = [names[one] if names else f"{one:0{width}d}" for one in answers]
        return [(f"{number:07d}", label, "", number) for number, label in enumerate(labels)]

    @property
    def paths(self) -> list[Path]:
        """The file."""
        return [self.path]

    def read(self, number: int) -> NDArray[np.uint8]:
        """Return a picture by its number in the file."""
        try:
            pixels = self.file.read(number)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            reason = " ".join(str(error).split())[:100]
            raise DataError(f"picture {number}: {self.path} is damaged ({reason})") from None
        if pixels.ndim == 3 and pixels.shape[-1] == 1:
            pixels = pixels[..., 0]
        return make_square(Image.fromarray(np.ascontiguousarray(pixels)), self.config)


def _check_shape(shape: tuple[int, ...], dtype: Any, largest_pix: int) -> None:
    """Refuse pictures that are none, or too many or too large to read."""
    planes_fit = len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))
    if not planes_fit or dtype != np.uint8:
        raise ConfigError(
            f"{IMAGES} is {dtype} of shape {shape}; what is read is uint8 of (N, height, width[, 3])"
        )
    if not 0 < shape[0] <= MOST_PICTURES or not 0 < max(shape[1:3]) <= largest_pix or 0 in shape:
        raise ConfigError(
            f"{IMAGES} has the shape {shape}; at most {MOST_PICTURES} of {largest_pix} pixels fit"
        )


def _check_answers(values: NDArray[Any]) -> NDArray[np.int64]:
    if values.dtype.kind not in "iu" or values.ndim != 1 or values.min(initial=0) < 0:
        raise ConfigError(f"{ANSWERS} is {values.dtype}; classes are whole numbers from 0 on")
    if values.max(initial=0) >= 100_000:
        raise ConfigError(f"{ANSWERS} has the class {values.max()}, above 99999")
    return values.astype(np.int64)


class _Hdf5:
    """An HDF5 file; each process opens it for itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        images, answers = self._dataset(IMAGES), self._dataset(ANSWERS)
        self.shape, self.dtype = tuple(images.shape), images.dtype
        if len(answers.shape) != 1 or answers.shape[0] > MOST_PICTURES or answers.dtype.kind not in "iu":
            raise ConfigError(
                f"{ANSWERS} is {answers.dtype} of shape {answers.shape}; whole numbers (N) are read"
            )
        self.answers = _check_answers(np.asarray(answers[:]))

    @cached_property
    def handle(self) -> Any:
        """The open file."""
        try:
            import h5py
        except ImportError:
            raise ConfigError("h5py reads it; pip install 'astro_dist[flare]'") from None
        try:
            return h5py.File(self.path, "r")
        except OSError as error:
            raise ConfigError(f"no readable HDF5 file ({' '.join(str(error).split())[:100]})") from None

    def _dataset(self, name: str) -> Any:
        handle = self.handle
        import h5py

        # A link may lead into any other file, and so may what is stored outside.
        link = handle.get(name, getlink=True)
        found = handle.get(name) if isinstance(link, h5py.HardLink) else None
        if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
            there = ", ".join(list(handle)[:8])
            raise ConfigError(f"it has no array {name!r} of its own; it has {there}")
        chunk_bytes = int(np.prod(found.chunks or (1,), dtype=np.float64)) * found.dtype.itemsize
        if chunk_bytes > MOST_CHUNK_BYTES:
            raise ConfigError(
                f"{name} is stored in chunks of {chunk_bytes >> 20} MB; repack it in smaller ones"
            )
        return found

    def read(self, number: int) -> NDArray[np.uint8]:
        """Return the pixels of one picture."""
        return np.asarray(self.handle[IMAGES][number])


class _Npz:
    """An npz file; packed pictures are read in order, so that an earlier one begins anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with self._open(IMAGES) as handle:
                self.shape, fortran, self.dtype = _read_header(handle)
                self.start = handle.tell()
            if fortran:
                raise ConfigError(f"{IMAGES} is in Fortran's order; save it in C's")
            with self._open(ANSWERS) as handle:
                shape, _, dtype = _read_header(handle)
                if len(shape) != 1 or not 0 < shape[0] <= MOST_PICTURES or dtype.kind not in "iu":
                    raise ConfigError(f"{ANSWERS} is {dtype} of shape {shape}; whole numbers (N) are read")
                data = handle.read(shape[0] * dtype.itemsize)
            self.answers = _check_answers(np.frombuffer(data, dtype))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
            raise ConfigError(f"no readable npz file ({' '.join(str(error).split())[:100]})") from None

    def _open(self, name: str) -> IO[bytes]:
        archive = zipfile.ZipFile(self.path)
        if f"{name}.npy" not in archive.namelist():
            there = ", ".join(part.removesuffix(".npy") for part in archive.namelist()[:8])
            raise ConfigError(f"it has no array {name!r}; it has {there}")
        return archive.open(f"{name}.npy")

    @cached_property
    def handle(self) -> IO[bytes]:
        """The open array of pictures."""
        return self._open(IMAGES)

    @cached_property
    def fault(self) -> str:
        """What is wrong with the pictures, read through once: where one seeks, no checksum is compared."""
        try:
            with self._open(IMAGES) as whole:
                while whole.read(1 << 20):
                    pass
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            return str(error)
        return ""

    def read(self, number: int) -> NDArray[np.uint8]:
        """Return the pixels of one picture."""
        if self.fault:
            raise zipfile.BadZipFile(self.fault)
        count = int(np.prod(self.shape[1:]))
        self.handle.seek(self.start + number * count)
        data = self.handle.read(count)
        if len(data) < count:
            raise EOFError("it ends early")
        return np.frombuffer(data, np.uint8).reshape(self.shape[1:])


def _read_header(handle: IO[bytes]) -> tuple[tuple[int, ...], bool, Any]:
    """Return shape, whether in Fortran's order, and type of an npy array; objects are refused."""
    version = np.lib.format.read_magic(handle)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(handle, max_header_size=10_000)
    if dtype.hasobject:
        raise ValueError("it holds objects")
    return shape, fortran, dtype
