"""Files that follow from a data set's own: masks merged from parts or brought to size, raw films as PNG.

They go to a folder of their own, never among the data set's files, and hold a marker by which a later import of a
folder around it knows that they are no part of the set.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from covidcxr_tf.data.sources.common import MASK_PARTS, PARTS, picture_size
from covidcxr_tf.data.sources.files import DERIVED_MARKER
from covidcxr_tf.errors import ImageError
from covidcxr_tf.files import replacing, write_text
from covidcxr_tf.progress import Progress

RAW_SUFFIX = ".img"
JSRT_SIZE = 2048  # rows and columns of a JSRT film
JSRT_MAX = 4095  # 12 bits

_FOLDERS = {"mask_path": "masks", "heart_mask_path": "heart_masks"}


def pending(films: pd.DataFrame) -> int:
    """Return how many files have to be written before the table is a manifest."""
    raw = sum(_is_raw(path) for path in films["path"])
    return raw + sum(int((films[parts] != "").sum()) for parts in MASK_PARTS.values() if parts in films.columns)


def write_derived(films: pd.DataFrame, root: Path, out: Path) -> pd.DataFrame:
    """Write what is pending below `out` and return the table with its paths filled in, without the parts' columns.

    Parameters
    ----------
    films : pd.DataFrame
        A reader's table (index 0..n-1) whose paths are relative to `root`.
    root : path
        The manifest's root, resolved.
    out : path
        A folder inside `root`, for ``films/``, ``masks/`` and ``heart_masks/``, made where needed.

    Raises
    ------
    ImageError
        For a film or mask that cannot be read.
    """
    waiting = Progress(pending(films), "converting", "files")
    if waiting.total:
        write_text(out / DERIVED_MARKER, "Written by `covidcxr data import`; not part of the data set.\n")
    parts_of = {name: parts for name, parts in MASK_PARTS.items() if parts in films.columns}
    columns: dict[str, list[str]] = {name: [str(cell) for cell in films[name]] for name in ("path", *parts_of)}
    for row, path in enumerate(films["path"]):
        size = None
        if _is_raw(path):
            target = out / "films" / Path(path).with_suffix(".png")
            write_raw_film(root / path, target)
            columns["path"][row] = target.relative_to(root).as_posix()
            size = (JSRT_SIZE, JSRT_SIZE)
            waiting.advance()
        for name, parts_column in parts_of.items():
            parts = str(films[parts_column].iloc[row])
            if parts:
                target = out / _FOLDERS[name] / Path(path).with_suffix(".png")
                write_mask([root / part for part in parts.split(PARTS)], target, size or picture_size(root / path))
                columns[name][row] = target.relative_to(root).as_posix()
                waiting.advance()
    if waiting.total:
        waiting.close()
    return films.assign(**columns).drop(columns=list(parts_of.values()))


def write_mask(parts: Sequence[Path], target: Path, size: tuple[int, int]) -> None:
    """Write the union of the parts as an 8-bit PNG of 0 and 255 and of `size` (rows, columns), nearest neighbour."""
    rows, columns = size
    union = np.zeros(size, dtype=bool)
    for part in parts:
        try:
            with Image.open(part) as picture:
                union |= np.asarray(picture.convert("L").resize((columns, rows), Image.Resampling.NEAREST)) > 0
        except (OSError, ValueError, Image.DecompressionBombError) as cause:
            raise ImageError(f"not readable: {cause}", where=part, expected="a mask") from cause
    with replacing(target) as aside:
        Image.fromarray(union.astype(np.uint8) * 255).save(aside, format="PNG")


def read_raw_film(path: Path) -> np.ndarray:
    """Return a JSRT film: uint16 (2048, 2048), 0 to 4095, bone bright.

    The file is 2048x2048 big-endian 16 bit words of 12 bits without a header, bone dark (Shiraishi 2000).

    Raises
    ------
    ImageError
        If the file is of another length.
    """
    expected = JSRT_SIZE * JSRT_SIZE * 2
    try:
        content = path.read_bytes()
    except OSError as cause:
        raise ImageError(f"not readable: {cause.strerror}", where=path) from cause
    if len(content) != expected:
        raise ImageError(
            f"{len(content)} bytes", where=path, expected=f"{expected} bytes, a raw JSRT film", remedy="unpack it again"
        )
    densities = np.frombuffer(content, dtype=">u2").reshape(JSRT_SIZE, JSRT_SIZE)
    return (JSRT_MAX - np.minimum(densities, JSRT_MAX)).astype(np.uint16)


def write_raw_film(path: Path, target: Path) -> None:
    """Write a raw JSRT film as a 16-bit PNG whose 65535 is the film's 4095."""
    film = np.rint(read_raw_film(path) * (65535 / JSRT_MAX)).astype(np.uint16)
    with replacing(target) as aside:
        Image.fromarray(film).save(aside, format="PNG")


def _is_raw(path: str) -> bool:
    return path.lower().endswith(RAW_SUFFIX)
