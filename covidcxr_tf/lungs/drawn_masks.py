"""The masks that people drew, as a manifest names them: read, and held to the size of their film."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from covidcxr_tf.data.manifest import film_path
from covidcxr_tf.errors import ConfigError, ImageError, ManifestError
from covidcxr_tf.imaging.reading import read_mask
from covidcxr_tf.imaging.resize import resize
from covidcxr_tf.lungs.anatomy import CLASSES, anatomy_mask

Mask = npt.NDArray[np.uint8]


def drawn_mask(manifest: pd.DataFrame, row: int, shape: tuple[int, ...], classes: Sequence[str] = ()) -> Mask:
    """Return the mask of a film at the film's size.

    Parameters
    ----------
    manifest : DataFrame
        From `load_manifest`, with ``mask_path`` (and ``heart_mask_path`` where `classes` are given).
    row : int
        Label of the index.
    shape : (H, W)
        Of the film.
    classes : sequence of str
        Empty: lungs, 0 or 1. `anatomy.CLASSES`: the number of each pixel's class.

    Returns
    -------
    uint8 (H, W)

    Raises
    ------
    ImageError
        If a mask cannot be read or has another size than its film.
    ManifestError
        If a cell is empty.
    """
    lung = _read(manifest, row, "mask_path", shape)
    return anatomy_mask(lung, _read(manifest, row, "heart_mask_path", shape)) if classes else lung


def small_mask(mask: Mask, side: int, classes: Sequence[str] = ()) -> Mask:
    """Return a mask at a network's size.

    Parameters
    ----------
    mask : uint8 (H, W)
        As `drawn_mask` gives it for `classes`.
    side : int
        Rows and columns, px.
    classes : sequence of str

    Returns
    -------
    uint8 (side, side)
        The class that covers most of each pixel: 1 from a half on for lungs alone; of classes with equal shares the
        first.
    """
    size = (side, side)
    if not classes:
        return (resize(mask.astype(np.float32), size) >= 0.5).astype(np.uint8)
    shares = [resize((mask == number).astype(np.float32), size) for number in range(len(classes))]
    return np.argmax(shares, axis=0).astype(np.uint8)


def check_classes(classes: Sequence[str]) -> None:
    """Raise where the classes of a segmentation are not those that `anatomy_mask` makes.

    Raises
    ------
    ConfigError
    """
    if classes and tuple(classes) != CLASSES:
        raise ConfigError(
            f"classes of a segmentation are {', '.join(classes)}",
            expected=f"none (lungs alone), or {', '.join(CLASSES)} in this order, each with an empty list of labels",
        )


def has_heart_masks(manifest: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return for each film whether the manifest names a mask of its heart, bool (rows,)."""
    if "heart_mask_path" not in manifest:
        return np.zeros(len(manifest), bool)
    return manifest["heart_mask_path"].ne("").to_numpy(bool)


def with_heart_masks(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the films that have a mask of the heart; the number of others is told on stderr.

    Raises
    ------
    ManifestError
        If no film has one.
    """
    drawn = has_heart_masks(manifest)
    if not drawn.any():
        raise ManifestError(
            "no film has a mask of its heart",
            where=manifest.attrs.get("manifest"),
            expected="paths in the column 'heart_mask_path'",
            remedy="or segment lungs alone: leave `classes` empty (--set classes={})",
        )
    if not drawn.all():
        print(f"left out: {int((~drawn).sum())} of {len(drawn)} films have no mask of the heart", file=sys.stderr)
    kept = manifest[drawn]
    kept.attrs = manifest.attrs
    return kept


def _read(manifest: pd.DataFrame, row: int, column: str, shape: tuple[int, ...]) -> Mask:
    path = film_path(manifest, row, column=column)
    mask = read_mask(path)
    if mask.shape != shape:
        raise ImageError(f"mask is {mask.shape}, its film {shape}", where=path, expected="the same size")
    return mask
