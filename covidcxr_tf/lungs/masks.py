"""Lung masks as results: cleaned, and judged for how likely they are to be right.

The thresholds come from 537 human lung masks (children and adults, 187 and 350, healthy and white lungs; the lung
behind the heart counts as lung). "Usual" is what 99 % of them keep; the limits at which a measure's mark is 0 lie well
beyond the most extreme one.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from covidcxr_tf.lungs import posture as postures
from covidcxr_tf.lungs.posture import Posture

# A second lung smaller than this share of the first is taken for a speck. Human masks: 0.58 at least; a network that
# loses most of a white lung comes down to about a quarter.
SECOND_LUNG_SHARE = 0.15

# Area as a share of the film. Human masks: 0.18 to 0.62, 0.5th percentile 0.20, median 0.36, 99.5th 0.57.
AREA_USUAL = (0.20, 0.57)
AREA_LIMITS = (0.05, 0.80)

# Smaller half of the film over the larger. Human masks: 0.64 to 1, 0.5th percentile 0.65, median 0.90.
SYMMETRY_USUAL = 0.65
SYMMETRY_LIMIT = 0.20

# Share of the film's outline that lies in the mask. Human masks: 93.5 % touch nowhere; 99.5th percentile 0.080, most
# 0.144.
BORDER_USUAL = 0.08
BORDER_LIMIT = 0.30

# Parts of at least 1 % of the mask. Human masks: 2 in 535, 3 in 2. One part: a lung is missing, or both are joined.
COMPONENT_SHARE = 0.01
COMPONENT_MARKS = {1: 0.6, 2: 1.0, 3: 0.8}
MANY_COMPONENTS_MARK = 0.4

# Dice that the shipped network expects of its own mask (`expected_dice`). On 152 films of patients that it never saw:
# 0.949 at least, 0.5th percentile 0.954, median 0.974. Spoilt films whose masks fail fall below
# (`scripts/mask_failures.py`).
CERTAINTY_USUAL = 0.95
CERTAINTY_LIMIT = 0.80

#: What a mask without its film is judged by: usual in everything.
UPRIGHT = Posture(1.0, 1.0, 0.0)

GOOD = 0.75
DOUBTFUL = 0.35

Verdict = Literal["good", "doubtful", "poor"]


@dataclasses.dataclass(frozen=True)
class MaskQuality:
    """How likely a lung mask is to be right, judged by its shape and, where it is known, by its network's certainty.

    Attributes
    ----------
    area_share : float
        Mask pixels over film pixels, [0, 1].
    components : int
        Connected parts (8 neighbours) of at least 1 % of the mask.
    symmetry : float
        Mask area in the film's half that has less, over that in the other, [0, 1].
    touches_border : bool
        Whether a mask pixel lies on the film's outermost row or column.
    expected_dice : float or None
        Dice that the network expects, [0, 1]; None for a mask that comes without probabilities.
    polarity, side_by_side, brighter_below : float or None
        See `covidcxr_tf.lungs.posture.Posture`; None for a mask that comes without its film.
    score : float
        Product of the marks of these measures, [0, 1]; 1 is a usual mask.
    verdict : "good", "doubtful" or "poor"
        Score of at least 0.75, at least 0.35, below.
    reasons : tuple of str
        One sentence for each measure that cost marks.
    """

    area_share: float
    components: int
    symmetry: float
    touches_border: bool
    score: float
    verdict: Verdict
    reasons: tuple[str, ...]
    expected_dice: float | None = None
    polarity: float | None = None
    side_by_side: float | None = None
    brighter_below: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON knows them."""
        return {**dataclasses.asdict(self), "reasons": list(self.reasons)}


def clean_mask(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the mask with its holes filled, reduced to its two largest parts.

    Parameters
    ----------
    mask : uint8 (H, W)
        Non-zero is lung.

    Returns
    -------
    uint8 (H, W), 0 or 1
        Parts are joined through 8 neighbours. The second is kept only if it has at least 15 % of the first one's area.
    """
    # Filled first: a part is as large as its outline, and cleaning a cleaned mask changes nothing.
    _, labels, areas = _parts(ndimage.binary_fill_holes(mask))
    if not len(areas):
        return np.zeros(mask.shape, np.uint8)
    # Stable, so that of parts of one size the upper one stays.
    largest = np.argsort(-areas, kind="stable")[:2]
    kept = [int(part) + 1 for part in largest if areas[part] >= SECOND_LUNG_SHARE * areas[largest[0]]]
    return np.isin(labels, kept).astype(np.uint8)


def expected_dice(probabilities: npt.NDArray[np.float32]) -> float:
    """Return the Dice coefficient that a network expects of its own mask, [0, 1]; 0 without a pixel above 0.5.

    With the mask m = (p > 0.5) and a truth drawn pixel by pixel with the probabilities p: twice the expected overlap,
    2 sum(p m), over the expected areas, sum(p) + sum(m). Sums in float64.

    Parameters
    ----------
    probabilities : float32 (h, w)
        Lung probability of each pixel.
    """
    shares = probabilities.astype(np.float64)
    inside = shares > 0.5
    return float(2 * shares[inside].sum() / (shares.sum() + inside.sum())) if inside.any() else 0.0


def mask_quality(
    mask: npt.NDArray[np.uint8],
    probabilities: npt.NDArray[np.float32] | None = None,
    standing: Posture | None = None,
) -> MaskQuality:
    """Return how likely the lung mask is to be right, and its film to be shown rightly.

    Parameters
    ----------
    mask : uint8 (H, W)
        Non-zero is lung. Specks count as parts, so judge the mask as the network gave it, or `clean_mask`'s if only
        the lungs' shape is asked.
    probabilities : float32 (h, w), optional
        The network's lung probabilities, of any size.
    standing : Posture, optional
        What `posture` says of the film.

    Returns
    -------
    MaskQuality
    """
    inside, _, areas = _parts(mask)
    if not len(areas):
        certainty = None if probabilities is None else expected_dice(probabilities)
        return MaskQuality(0.0, 0, 0.0, False, 0.0, "poor", ("no lung pixel",), certainty)
    stands = standing or UPRIGHT
    area = float(inside.mean())
    components = int(np.count_nonzero(areas >= COMPONENT_SHARE * areas.sum()))
    symmetry = _symmetry(inside)
    border = _border_share(inside)
    certainty = 1.0 if probabilities is None else expected_dice(probabilities)
    marks = (
        _rising(area, AREA_LIMITS[0], AREA_USUAL[0]) * _rising(-area, -AREA_LIMITS[1], -AREA_USUAL[1]),
        COMPONENT_MARKS.get(components, MANY_COMPONENTS_MARK),
        _rising(symmetry, SYMMETRY_LIMIT, SYMMETRY_USUAL),
        _rising(-border, -BORDER_LIMIT, -BORDER_USUAL),
        _rising(certainty, CERTAINTY_LIMIT, CERTAINTY_USUAL),
        _rising(stands.polarity, postures.POLARITY_LIMIT, postures.POLARITY_USUAL),
        _rising(stands.side_by_side, postures.SIDE_BY_SIDE_LIMIT, postures.SIDE_BY_SIDE_USUAL),
        _rising(stands.brighter_below, postures.BRIGHTER_BELOW_LIMIT, postures.BRIGHTER_BELOW_USUAL),
    )
    sentences = (
        f"area {area:.0%} of the film; usual {AREA_USUAL[0]:.0%} to {AREA_USUAL[1]:.0%}",
        f"{components} {'part' if components == 1 else 'parts'}; usual 2",
        f"one half of the film has {symmetry:.0%} of the other's lung area; usual at least {SYMMETRY_USUAL:.0%}",
        f"{border:.0%} of the film's border lie in the mask; usual at most {BORDER_USUAL:.0%}",
        f"the network expects {certainty:.0%} overlap with the truth; usual at least {CERTAINTY_USUAL:.0%}",
        f"the film is {_lighter(stands.polarity)} between the lungs than in them; usual at least "
        f"{_lighter(postures.POLARITY_USUAL)}: it may be inverted",
        f"{stands.side_by_side:.0%} of what lies between the lungs lies beside them; usual at least "
        f"{postures.SIDE_BY_SIDE_USUAL:.0%}: the film may lie on its side, or stand on its head",
        f"between the lungs the film is {_lighter(stands.brighter_below)} below than above; usual at most "
        f"{_lighter(postures.BRIGHTER_BELOW_USUAL)}: it may stand on its head",
    )
    score = float(np.prod(marks))
    verdict: Verdict = "good" if score >= GOOD else "doubtful" if score >= DOUBTFUL else "poor"
    reasons = tuple(sentence for sentence, mark in zip(sentences, marks) if mark < 1)
    known = None if probabilities is None else certainty
    return MaskQuality(area, components, symmetry, border > 0, score, verdict, reasons, known, *(standing or ()))


def _lighter(difference: float) -> str:
    return f"{abs(difference):.0%} {'brighter' if difference >= 0 else 'darker'}"


def _parts(
    mask: npt.NDArray[np.uint8],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return the mask as 0/1, its part labels (0 = outside) and the area of each part, px."""
    inside = (mask > 0).astype(np.uint8)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
    return inside, labels, statistics[1:, cv2.CC_STAT_AREA]


def _symmetry(inside: npt.NDArray[np.uint8]) -> float:
    """Return the smaller over the larger of the areas left and right of the film's middle.

    About the film's middle, not the mask's: the middle of a mask that lost a lung is the other lung's.
    """
    columns = inside.sum(axis=0, dtype=np.int64)
    half = len(columns) // 2
    middle = columns[half] / 2 if len(columns) % 2 else 0.0
    left, right = columns[:half].sum() + middle, columns[len(columns) - half :].sum() + middle
    return float(min(left, right) / max(left, right))


def _border_share(inside: npt.NDArray[np.uint8]) -> float:
    """Return the share of the outermost rows and columns (corners count once) that lies in the mask."""
    outline = np.ones(inside.shape, bool)
    outline[1:-1, 1:-1] = False
    return float(inside[outline].mean())


def _rising(value: float, zero: float, one: float) -> float:
    """Return 0 up to `zero`, 1 from `one` on, and a straight line between."""
    return float(np.clip((value - zero) / (one - zero), 0.0, 1.0))
