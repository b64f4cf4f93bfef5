"""The one path for pixels: a film becomes the channels that a network sees."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from covidcxr_tf.config import ImageConfig
from covidcxr_tf.imaging.beasf import Compat, beasf
from covidcxr_tf.imaging.clahe import clahe
from covidcxr_tf.imaging.crop import Box, crop, lungs_found, mask_film, region_at
from covidcxr_tf.imaging.equalise import equalize
from covidcxr_tf.imaging.histogram import Counts, match_histogram
from covidcxr_tf.imaging.resize import resize
from covidcxr_tf.imaging.universal import universal

# Steps within a grey level. A film reduced by a simple factor has many pixels at exactly half a level, and which way
# they round hangs on the order in which a library adds. Rounded to these steps first, they are at the half again.
FINE = 1024


def to_levels(film: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return a resized film as 8-bit levels, the same from NumPy and from TensorFlow.

    As `levels.to_uint8`, but what lies within a 2048th of a level of a half counts as the half and goes to the even
    level.

    Parameters
    ----------
    film : float32 (H, W), [0, 1]

    Returns
    -------
    uint8 (H, W)
    """
    return _in_steps(film, 1).astype(np.uint8)


def _in_steps(film: npt.NDArray[np.float32], steps: int) -> npt.NDArray[np.float32]:
    """Return a film in whole steps, so many a level, from 0 to 255 `steps`."""
    fine = np.rint(film * np.float32(255 * FINE))
    return np.clip(np.rint(fine * np.float32(steps / FINE)), 0, 255 * steps)


def film_levels(film: npt.NDArray[np.float32], cfg: ImageConfig) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Return a resized film as `channels` takes it: 8-bit levels, or with ``cfg.level_steps`` above 1 parts of them.

    Parameters
    ----------
    film : float32 (H, W), [0, 1]
    cfg : ImageConfig
        `level_steps` counts.

    Returns
    -------
    uint8 (H, W), or uint16 (H, W) from 0 to 255 `level_steps`
    """
    return to_levels(film) if cfg.level_steps == 1 else _in_steps(film, cfg.level_steps).astype(np.uint16)


def three_channel(
    image: npt.NDArray[np.uint8],
    gamma: float = 1.5,
    clip_limit: float = 2.0,
    tiles: int = 8,
    compat: Compat = "ours",
) -> npt.NDArray[np.uint8]:
    """Return BEASF, CLAHE and the image itself as three channels.

    Parameters
    ----------
    image : uint8 (H, W)
    gamma : float
        Slope of BEASF.
    clip_limit, tiles : float, int
        Of CLAHE.
    compat : "ours" or "authors"
        Reading of BEASF.

    Returns
    -------
    uint8 (H, W, 3)

    Notes
    -----
    Source: Haghanifar 2020, section 3.2. The order is that of the authors' training notebooks.
    """
    enhanced = (beasf(image, gamma, compat), clahe(image, clip_limit, tiles), np.ascontiguousarray(image))
    # Without a place to write to, cv2 takes fresh memory and the page faults cost more than the merge.
    return cv2.merge(enhanced, np.empty((*image.shape, 3), np.uint8))


def channels(
    image: npt.NDArray[np.uint8] | npt.NDArray[np.uint16],
    cfg: ImageConfig,
    reference_histogram: Counts | None = None,
) -> npt.NDArray[np.uint8]:
    """Return the channels that the config names, in its order.

    Parameters
    ----------
    image : uint8 or uint16 (H, W)
        Of `film_levels`. Only CLAHE reads parts of levels; the other channels are made from `whole_levels`.
    cfg : ImageConfig
        `channels`, `gamma`, `clip_limit`, `tiles`, `redistribution`, `level_steps`, `compat` and `universal_gamma`
        count here. A channel may repeat.
    reference_histogram : int (256,), optional
        Pixel counts that the image is matched to first; every channel, raw too, is made from the matched image.

    Returns
    -------
    uint8 (H, W, C)
    """
    whole = whole_levels(image, cfg)
    if reference_histogram is not None:
        whole = match_histogram(whole, reference_histogram)
        image = whole if cfg.level_steps == 1 else whole * np.uint16(cfg.level_steps)
    whole = np.ascontiguousarray(whole)
    make: dict[str, Callable[[], npt.NDArray[np.uint8]]] = {
        "raw": lambda: whole,
        "clahe": lambda: clahe(image, cfg.clip_limit, cfg.tiles, cfg.redistribution, cfg.level_steps),
        "beasf": lambda: beasf(whole, cfg.gamma, cfg.compat),
        "equalize": lambda: equalize(whole),
        "universal": lambda: universal(whole, cfg.universal_gamma),
    }
    stacked = np.empty((*image.shape, len(cfg.channels)), np.uint8)
    made = {name: make[name]() for name in dict.fromkeys(cfg.channels)}  # each once: a channel may repeat
    for place, name in enumerate(cfg.channels):
        stacked[..., place] = made[name]
    return stacked


def whole_levels(image: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], cfg: ImageConfig) -> npt.NDArray[np.uint8]:
    """Return `film_levels` as 8-bit levels; a half goes to the even one.

    With parts of levels the film was rounded to those first: one pixel in thirty is a level beside `to_levels`.
    """
    if cfg.level_steps == 1:
        return image.astype(np.uint8, copy=False)
    return np.rint(image * np.float32(1 / cfg.level_steps)).astype(np.uint8)


def framed(film: npt.NDArray[np.float32], cfg: ImageConfig, box: Box) -> npt.NDArray[np.float32]:
    """Return the part of a film inside the box, float32 (size, size) in [0, 1].

    Whole pixels, outwards rounded, with ``cfg.lung_edges == "region"``; to an eighth of a pixel with ``"mass"``.
    """
    size = (cfg.size, cfg.size)
    return resize(film, size, box=box) if cfg.lung_edges == "mass" else resize(crop(film, box), size)


def model_input(
    film: npt.NDArray[np.float32],
    cfg: ImageConfig,
    box: Box | None = None,
    region: npt.NDArray[np.uint8] | None = None,
    reference_histogram: Counts | None = None,
) -> npt.NDArray[np.uint8]:
    """Return what a network gets of a film, before the division by 255.

    Masked to the region (only with ``cfg.lungs == "mask"``), cropped to the box, resized, cut to 8 bit, then made into
    channels: this order, so that equalisation sees only what the network sees.

    With ``cfg.lungs == "mask_whole"`` the frame stays the film's (a box does not count) and the mask comes last: the
    levels are those of the whole film's equalisation, then every channel is 0 outside the region (Oh 2020, II.B: the
    preprocessed film times its mask).

    Parameters
    ----------
    film : float32 (H, W), [0, 1], bone bright
    cfg : ImageConfig
    box : (top, left, bottom, right), optional
        Fractions of the film; the whole film where None, and always with ``cfg.lungs == "mask_whole"``.
    region : uint8 (h, w), optional
        0 or 1, any resolution. One that covers less than 2 % of the film found no lungs and masks nothing.
    reference_histogram : int (256,), optional
        See `channels`.

    Returns
    -------
    uint8 (size, size, C)
    """
    found = region is not None and lungs_found(region)
    if cfg.lungs == "mask" and region is not None and found:
        film = mask_film(film, region)
    if box is not None and cfg.lungs != "mask_whole":
        film = framed(film, cfg, box)
    else:
        film = resize(film, (cfg.size, cfg.size))
    stacked = channels(film_levels(film, cfg), cfg, reference_histogram)
    if cfg.lungs == "mask_whole" and region is not None and found:
        stacked *= region_at(region, (cfg.size, cfg.size))[..., np.newaxis]
    return stacked
