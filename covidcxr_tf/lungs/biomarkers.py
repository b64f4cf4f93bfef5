"""Numbers that describe the lungs of one film: grey levels, patches, shape, cardiothoracic ratio.

Source: Oh 2020, sections III.B and IV.C. Grey levels are those of the universally preprocessed film, 0 to 255; shape is
in shares of the film, so that films of any resolution compare. Left and right are the patient's.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from covidcxr_tf.errors import DataError
from covidcxr_tf.imaging.crop import region_at
from covidcxr_tf.imaging.levels import from_uint8, to_uint8
from covidcxr_tf.imaging.resize import resize
from covidcxr_tf.imaging.stack import to_levels
from covidcxr_tf.imaging.universal import universal
from covidcxr_tf.lungs.anatomy import cardiothoracic_ratio, lung_side_masks
from covidcxr_tf.lungs.masks import clean_mask
from covidcxr_tf.lungs.patches import cut, patch_corners

Mask = npt.NDArray[np.uint8]


class Marker(NamedTuple):
    """What a column of the markers holds."""

    title: str
    unit: str


#: Column -> what it is. In the order of every table.
MARKERS: dict[str, Marker] = {
    "lung_mean": Marker("mean lung intensity", "grey level"),
    "lung_std": Marker("standard deviation of lung intensity", "grey levels"),
    "inter_patch_mean": Marker("mean over patches of the patch mean", "grey level"),
    "inter_patch_std": Marker("standard deviation over patches of the patch mean", "grey levels"),
    "intra_patch_std": Marker("mean over patches of the patch's standard deviation", "grey levels"),
    "cardiothoracic_ratio": Marker("cardiothoracic ratio", "heart's width / chest's width"),
    "lung_area": Marker("lung area", "share of the film"),
    "right_lung_area": Marker("area of the right lung", "share of the film"),
    "left_lung_area": Marker("area of the left lung", "share of the film"),
    "left_right_area_ratio": Marker("area of the left lung over the right lung's", "ratio"),
    "right_lung_height": Marker("height of the right lung", "share of the film's height"),
    "left_lung_height": Marker("height of the left lung", "share of the film's height"),
}

# Sizes and number as the paper's classifier has them (Oh 2020, section II.B). Its pixels are others: it preprocesses
# the film once that has been masked and brought to the frame, and sees what lies outside the lungs as black.
FRAME = 1024
PATCH = 224
PATCHES = 100

NO_LUNG = "no lung pixel"


class LungMarkers(NamedTuple):
    """The markers of one film.

    Attributes
    ----------
    values : dict
        A name of `MARKERS` -> float, or None where the film does not define it.
    why : dict
        The name of each marker that is None -> the reason.
    """

    values: dict[str, float | None]
    why: dict[str, str]


def lung_markers(
    film: npt.NDArray[np.float32], lung: Mask, heart: Mask | None = None, *, gamma: float = 0.5, seed: int = 0
) -> LungMarkers:
    """Return every marker of one film.

    Parameters
    ----------
    film : float32 (H, W), [0, 1], bone bright
    lung : uint8 (H, W)
        Non-zero is lung, both lungs in one mask. Cleaned first (`masks.clean_mask`).
    heart : uint8 (H, W), optional
        Non-zero is heart; of several parts the largest counts.
    gamma : float
        Of the universal preprocessing.
    seed : int
        Of the patches' places.

    Returns
    -------
    LungMarkers

    Raises
    ------
    DataError
        If film and masks are not of one size.

    Notes
    -----
    Differs from paper: the pixels are those of the lung mask as it comes, whether or not it holds the lung behind the
    heart. Taking the heart away only where its mask is known would make films of different sources differ.
    """
    if lung.shape != film.shape or (heart is not None and heart.shape != film.shape):
        sizes = " and ".join(str(mask.shape) for mask in (lung, heart) if mask is not None)
        raise DataError(f"masks of {sizes} for a film of {film.shape} px", expected="one size")
    lung = clean_mask(lung)
    image = universal(to_uint8(film), gamma)
    mean, deviation = lung_intensity(image, lung)
    values = {"lung_mean": mean, "lung_std": deviation}
    values |= patch_intensity(image, lung, seed=seed) | {"cardiothoracic_ratio": None} | lung_shape(lung, heart)
    why = dict.fromkeys((name for name, value in values.items() if value is None), NO_LUNG)
    if lung.any():
        why |= dict.fromkeys(why, "only one lung in the mask")
        values["cardiothoracic_ratio"], why["cardiothoracic_ratio"] = _ratio(lung, heart)
    return LungMarkers({name: values[name] for name in MARKERS}, {name: text for name, text in why.items() if text})


def lung_intensity(image: npt.NDArray[np.uint8], lung: Mask) -> tuple[float | None, float | None]:
    """Return mean and standard deviation (divided by n) of the pixels inside the mask.

    Parameters
    ----------
    image : uint8 (H, W)
        The preprocessed film.
    lung : uint8 (H, W)
        Non-zero is lung.

    Returns
    -------
    mean, deviation : float or None
        Grey levels, in float64; None without a lung pixel.

    Notes
    -----
    Source: Oh 2020, section III.B.
    """
    pixels = image[lung != 0].astype(np.float64)
    return (float(pixels.mean()), float(pixels.std())) if len(pixels) else (None, None)


def patch_intensity(
    image: npt.NDArray[np.uint8],
    lung: Mask,
    *,
    frame: int = FRAME,
    size: int = PATCH,
    count: int = PATCHES,
    seed: int = 0,
) -> dict[str, float | None]:
    """Return how grey levels differ between patches of the lungs and within them.

    Film and mask are brought to frame x frame px, patches drawn with centres in the lungs; only a patch's lung pixels
    count. Between patches is about grey that changes over the lungs, within patches about texture.

    Parameters
    ----------
    image : uint8 (H, W)
        The preprocessed film.
    lung : uint8 (H, W)
        Non-zero is lung.
    frame, size : int
        Sides of the resized film and of a patch, px.
    count : int
        Patches.
    seed : int
        Of their places.

    Returns
    -------
    dict
        ``inter_patch_mean`` and ``inter_patch_std`` (mean and deviation of the patches' means), ``intra_patch_std``
        (mean of the patches' deviations); None without a lung pixel.

    Notes
    -----
    Source: Oh 2020, section IV.C and Figure 5.

    Differs from paper: every patch counts and a film is the unit; the paper takes the patches that its network
    classified rightly, each on its own, which makes the network part of the marker and the patches of one film
    independent of each other.
    """
    names = ("inter_patch_mean", "inter_patch_std", "intra_patch_std")
    inside = region_at((lung != 0).astype(np.uint8), (frame, frame)) > 0
    if not inside.any():
        return dict.fromkeys(names)
    framed = to_levels(resize(from_uint8(image), (frame, frame)))
    corners = patch_corners(inside, size, count, seed)
    patches = zip(cut(framed[..., np.newaxis], corners, size), cut(inside[..., np.newaxis], corners, size), strict=True)
    pixels = [patch[where].astype(np.float64) for patch, where in patches]
    means, deviations = np.array([(part.mean(), part.std()) for part in pixels]).T
    return dict(zip(names, (float(means.mean()), float(means.std()), float(deviations.mean())), strict=True))


def lung_shape(lung: Mask, heart: Mask | None = None) -> dict[str, float | None]:
    """Return areas and heights of both lungs as shares of the film.

    Parameters
    ----------
    lung : uint8 (H, W)
        Non-zero is lung.
    heart : uint8 (H, W), optional
        Guides the split of a mask in which both lungs touch.

    Returns
    -------
    dict
        ``lung_area``, and for each side its area and height (first to last row); ``left_right_area_ratio``. What
        belongs to a lung that is not there is None.
    """
    left, right = lung_side_masks(lung, heart)
    values: dict[str, float | None] = {"lung_area": float((lung != 0).mean()) if lung.any() else None}
    for side, mask in (("right", right), ("left", left)):
        rows = np.flatnonzero(mask.any(axis=1))
        values[f"{side}_lung_area"] = float(mask.mean()) if len(rows) else None
        values[f"{side}_lung_height"] = float(rows[-1] - rows[0] + 1) / mask.shape[0] if len(rows) else None
    both = left.any() and right.any()
    values["left_right_area_ratio"] = float(left.sum() / right.sum()) if both else None
    return values


def _ratio(lung: Mask, heart: Mask | None) -> tuple[float | None, str]:
    """Return the cardiothoracic ratio, or None and why."""
    if heart is None:
        return None, "no heart mask"
    if not heart.any():
        return None, "the heart mask is empty"
    ratio = cardiothoracic_ratio(lung, _largest_part(heart))
    return ratio, "" if ratio is not None else "only one lung in the mask"


def _largest_part(mask: Mask) -> Mask:
    _, labels, statistics, _ = cv2.connectedComponentsWithStats((mask != 0).astype(np.uint8), connectivity=8)
    return (labels == 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
