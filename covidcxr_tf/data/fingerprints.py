"""What a pass over the files of a manifest finds: unreadable films and masks, and a fingerprint of each film."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from covidcxr_tf.data.manifest import film_path, path_problem
from covidcxr_tf.errors import ImageError, ManifestError

HASH_SIDE = 16  # the hash has 16 x 16 bits
HASH_WORDS = HASH_SIDE**2 // 64


@dataclass(frozen=True)
class FileFault:
    """A file of a row that cannot be used: label of the index, column, words."""

    index: int
    column: str
    problem: str


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of the films of a manifest, in its order.

    Attributes
    ----------
    index : ndarray of int64, (films,)
        Labels of the manifest's index.
    sha256 : list of str
        Of the file's bytes, hexadecimal; "" where there is no file.
    hashes : ndarray of uint64, (films, 4)
        Perceptual hash of 256 bits; see `perceptual_hash`.
    hashed : ndarray of bool, (films,)
        Whether there is a hash, that is, whether the film could be read.
    faults : list of FileFault
        Films and masks that cannot be read, and masks of another size than their film.
    """

    index: npt.NDArray[np.int64]
    sha256: list[str]
    hashes: npt.NDArray[np.uint64]
    hashed: npt.NDArray[np.bool_]
    faults: list[FileFault] = field(default_factory=list)


@dataclass
class _One:
    """What the file of one row gave."""

    sha256: str = ""
    bits: npt.NDArray[np.uint64] | None = None
    faults: list[FileFault] = field(default_factory=list)


def perceptual_hash(film: npt.NDArray[np.float32]) -> npt.NDArray[np.uint64]:
    """Return the 256-bit perceptual hash of a film as four words.

    The lowest 16 x 16 frequencies of the film at 64 x 64 pixels, each above or below their median (`imagehash.phash`).
    Size, JPEG quality, brightness and contrast move few bits; a crop, a turn or a mirror image move many and are not
    found. 64 bits would not do: all chest films look alike, and some of different people are then 2 bits apart.

    Parameters
    ----------
    film : ndarray of float32, (rows, columns)
        In [0, 1].

    Returns
    -------
    ndarray of uint64, (4,)
    """
    import imagehash
    from PIL import Image

    from covidcxr_tf.imaging.levels import to_uint8

    bits = imagehash.phash(Image.fromarray(to_uint8(film)), hash_size=HASH_SIDE).hash
    return np.packbits(bits.ravel()).view(np.uint64)


def fingerprint(
    films: pd.DataFrame,
    *,
    masks: bool = False,
    threads: int | None = None,
    progress: Callable[[], None] | None = None,
) -> Fingerprints:
    """Return the fingerprints of all films of a loaded manifest; files are read once, by several threads.

    Parameters
    ----------
    films : pd.DataFrame
        With ``attrs["root"]``; nothing is raised for a film that cannot be read.
    masks : bool
        Also open the masks and compare their sizes with the film's.
    threads : int, optional
        One a core by default.
    progress : callable, optional
        Called after each film.
    """
    columns = [name for name in ("mask_path", "heart_mask_path") if masks and name in films.columns]
    results: list[_One] = []
    # A film of 100 Mpx takes 0.4 GB: a core each, not more.
    pool = ThreadPoolExecutor(threads or os.cpu_count() or 1)
    try:
        for one in pool.map(lambda row: _look(films, row, columns), films.index.tolist()):
            results.append(one)
            if progress is not None:
                progress()
    finally:
        # on Ctrl-C: what has not begun is dropped
        pool.shutdown(cancel_futures=True)
    hashes = np.zeros((len(results), HASH_WORDS), dtype=np.uint64)
    for number, one in enumerate(results):
        if one.bits is not None:
            hashes[number] = one.bits
    return Fingerprints(
        films.index.to_numpy(dtype=np.int64),
        [one.sha256 for one in results],
        hashes,
        np.array([one.bits is not None for one in results], dtype=bool),
        [fault for one in results for fault in one.faults],
    )


def _look(films: pd.DataFrame, row: int, mask_columns: list[str]) -> _One:
    from covidcxr_tf.imaging.reading import read_image

    one = _One()
    shape = None
    problem = path_problem(films, row)
    if problem is None:
        relative = str(films["path"][row])
        try:
            content = film_path(films, row).read_bytes()
            one.sha256 = hashlib.sha256(content).hexdigest()
            film = read_image(content, name=relative)
            shape = film.shape
            one.bits = perceptual_hash(film)
        except (ImageError, OSError) as cause:
            problem = f"{relative}: {cause.problem if isinstance(cause, ImageError) else cause.strerror}"
    if problem is not None:
        one.faults.append(FileFault(row, "path", problem))
    for column in mask_columns:
        problem = _mask_problem(films, row, column, shape) if str(films[column][row]) else None
        if problem is not None:
            one.faults.append(FileFault(row, column, problem))
    return one


def _mask_problem(films: pd.DataFrame, row: int, column: str, shape: tuple[int, ...] | None) -> str | None:
    from covidcxr_tf.imaging.reading import image_size

    problem = path_problem(films, row, column)
    if problem is not None:
        return problem
    try:
        path: Path = film_path(films, row, column)
        size = image_size(path)
    except (ImageError, ManifestError) as cause:
        return f"{films[column][row]}: {cause.problem}"
    if shape is not None and size != tuple(shape):
        return f"mask is {size[0]} x {size[1]}, its film {shape[0]} x {shape[1]} (rows x columns)"
    return None
