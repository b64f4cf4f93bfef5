"""Heart, left and right lung of a film from masks of the lungs and of the heart; the cardiothoracic ratio.

Left and right are the patient's: on a film as it is hung the right lung stands on the picture's left.

Lungs follow the JSRT convention, lung without heart: where both masks cover a pixel, the heart wins. Sets whose
drawings count the lung behind the heart as lung lose that part here.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from covidcxr_tf.errors import DataError
from covidcxr_tf.lungs.masks import SECOND_LUNG_SHARE

Mask = npt.NDArray[np.uint8]

#: The class of each number in an anatomy mask, and of each channel of a network that finds them (Oh 2020, II.A).
CLASSES = ("background", "heart", "left_lung", "right_lung")
BACKGROUND, HEART, LEFT_LUNG, RIGHT_LUNG = range(4)
CONVENTION = "lung = left or right lung without the heart: where heart and lung overlap, the heart wins (JSRT)"

# Two parts whose columns overlap by more than this share of the narrower one lie above each other: one lung in two
# pieces. Of 537 drawn pairs of lungs the one that overlaps most has 0.07.
STACKED_SHARE = 0.5
# One part holds both lungs if the smaller of its areas beside the midline has at least this share of the larger.
# The drawn pairs have 0.62 at least; one lung of a pair alone 0.18 at most beside the film's middle, 0.40 beside the
# heart's (drawings with the lung behind the heart).
JOINED_SHARE = 0.5


def anatomy_mask(lung: npt.NDArray[np.generic], heart: npt.NDArray[np.generic]) -> Mask:
    """Return the number in `CLASSES` of each pixel.

    Parameters
    ----------
    lung, heart : any dtype (H, W)
        Non-zero is inside. Both lungs in one mask.

    Returns
    -------
    uint8 (H, W), 0 to 3

    Raises
    ------
    DataError
        If the two are not of one size.
    """
    if lung.shape != heart.shape:
        raise DataError(f"a lung mask of {lung.shape} and a heart mask of {heart.shape} px", expected="one size")
    left, right = lung_side_masks(lung, heart)
    found = np.zeros(lung.shape, np.uint8)
    found[left > 0] = LEFT_LUNG
    found[right > 0] = RIGHT_LUNG
    found[heart != 0] = HEART
    return found


def lung_side_masks(lung: npt.NDArray[np.generic], heart: npt.NDArray[np.generic] | None = None) -> tuple[Mask, Mask]:
    """Return the patient's left and right lung of a mask that holds both.

    The two largest connected parts (8 neighbours) that do not lie above each other are the lungs; the one further left
    in the picture is the right lung. Where there is but one such part, it is split at the column with the fewest lung
    pixels (within the heart's columns, or the middle third of its own) if it reaches far to both sides of the midline,
    and else is the lung of the side that it lies on. The midline is the heart's middle column, without a heart the
    film's. Other parts go with the nearest lung, or, where only one lung was found, by their side of the midline.

    Parameters
    ----------
    lung : any dtype (H, W)
        Non-zero is inside.
    heart : any dtype (H, W), optional
        Non-zero is inside; an empty one counts as none. It only guides: lung pixels in it are kept.

    Returns
    -------
    left, right : uint8 (H, W), 0 or 1
        Together the mask, nowhere both; one is empty where a lung is missing.
    """
    inside = (lung != 0).astype(np.uint8)
    count, labels, statistics, centres = cv2.connectedComponentsWithStats(inside, connectivity=8)
    if count == 1:
        return inside, inside.copy()
    areas = statistics[1:, cv2.CC_STAT_AREA]
    order = [int(part) + 1 for part in np.argsort(-areas, kind="stable")]
    large = [part for part in order if areas[part - 1] >= SECOND_LUNG_SHARE * areas[order[0] - 1]]
    opposite = next((part for part in large[1:] if not _stacked(statistics[large[0]], statistics[part])), None)
    if opposite is not None:
        right_part, left_part = sorted((large[0], opposite), key=lambda part: centres[part][0])
        rest = [part for part in order if part not in (left_part, right_part)]
        return _with_the_rest(labels, rest, labels == left_part, labels == right_part)
    midline = _midline(heart, inside.shape[1])
    left, right = _one_part(np.isin(labels, large), heart, midline)
    for part in order:
        if part not in large:
            (right if centres[part][0] < midline else left)[labels == part] = True
    return left.astype(np.uint8), right.astype(np.uint8)


def cardiothoracic_ratio(lung: npt.NDArray[np.generic], heart: npt.NDArray[np.generic]) -> float | None:
    """Return the widest extent of the heart over the widest inner extent of the chest, both in columns.

    The heart's is from its first to its last column (the sum of its largest distances from any midline); the chest's
    the largest distance in one row from the right lung's outer edge to the left lung's. Usual up to 0.5 on a
    posteroanterior film of an adult (Danzer 1919).

    Parameters
    ----------
    lung, heart : any dtype (H, W)
        Non-zero is inside. Specks count: hand over cleaned masks.

    Returns
    -------
    float or None
        At least 0; None where the heart or one of the lungs is not in the masks, as then a width is not known.

    Raises
    ------
    DataError
        If the two are not of one size.
    """
    if lung.shape != heart.shape:
        raise DataError(f"a lung mask of {lung.shape} and a heart mask of {heart.shape} px", expected="one size")
    left, right = lung_side_masks(lung, heart)
    if not (heart.any() and left.any() and right.any()):
        return None
    heart_columns = np.flatnonzero((heart != 0).any(axis=0))
    inside = lung != 0
    rows = inside.any(axis=1)
    first = inside.argmax(axis=1)
    last = inside.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)
    chest = int((last - first + 1)[rows].max())
    return (int(heart_columns[-1]) - int(heart_columns[0]) + 1) / chest


def _with_the_rest(
    labels: npt.NDArray[np.int32], rest: list[int], left: npt.NDArray[np.bool_], right: npt.NDArray[np.bool_]
) -> tuple[Mask, Mask]:
    """Return both lungs with each other part added to the one that is nearer."""
    if rest:
        to_left, to_right = (cv2.distanceTransform((~side).astype(np.uint8), cv2.DIST_L2, 5) for side in (left, right))
        for part in rest:
            place = labels == part
            (left if to_left[place].min() <= to_right[place].min() else right)[place] = True
    return left.astype(np.uint8), right.astype(np.uint8)


def _one_part(
    part: npt.NDArray[np.bool_], heart: npt.NDArray[np.generic] | None, midline: float
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return left and right lung of what is one lung, or two that touch."""
    columns = part.sum(axis=0, dtype=np.int64)
    places = np.arange(len(columns))
    on_the_right, on_the_left = columns[places < midline].sum(), columns[places >= midline].sum()
    if min(on_the_left, on_the_right) < JOINED_SHARE * max(on_the_left, on_the_right):
        empty = np.zeros_like(part)
        return (part, empty) if on_the_left > on_the_right else (empty, part)
    occupied = np.flatnonzero(columns)
    third = (int(occupied[-1]) + 1 - int(occupied[0])) / 3
    first, last = int(occupied[0] + third), int(occupied[-1] - third)
    if heart is not None and heart.any():
        heart_columns = np.flatnonzero((heart != 0).any(axis=0))
        first, last = max(int(heart_columns[0]), int(occupied[0])), min(int(heart_columns[-1]), int(occupied[-1]))
    window = places[first : last + 1]
    # Of columns with equally few pixels the one nearest to the midline.
    split = min(window.tolist(), key=lambda column: (columns[column], abs(column - midline)))
    beyond = np.broadcast_to(places >= split, part.shape)
    return part & beyond, part & ~beyond


def _midline(heart: npt.NDArray[np.generic] | None, width: int) -> float:
    """Return the middle of the heart's columns, or of the film's where there is no heart."""
    if heart is None or not heart.any():
        return width / 2
    columns = np.flatnonzero((heart != 0).any(axis=0))
    return (int(columns[0]) + int(columns[-1]) + 1) / 2


def _stacked(one: npt.NDArray[np.int32], other: npt.NDArray[np.int32]) -> bool:
    """Return whether two parts lie above each other rather than side by side, from their OpenCV statistics."""
    left, width = cv2.CC_STAT_LEFT, cv2.CC_STAT_WIDTH
    shared = min(one[left] + one[width], other[left] + other[width]) - max(one[left], other[left])
    return bool(shared > STACKED_SHARE * min(one[width], other[width]))
