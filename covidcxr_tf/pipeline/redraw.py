"""Training and validation films drawn anew in each epoch.

Source: Kusakunniran 2021, section 3: "the training and validating set is further randomly split ... in each epoch".
Every film is then trained on sooner or later, so that a validation loss falls with the training loss whether or not
the network has learned anything general. It is here to reproduce the paper; a fixed split by patient is our default.

Redrawn films choose the epoch alone. What a finished run says of validation films is of the split's own, whole films
and patches alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

#: Share of the pool that validates, section 3.
VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class Redraw:
    """Which films of a pool one part has in an epoch.

    Attributes
    ----------
    part : str
        ``train`` or ``validation``.
    pool : ndarray
        bool (rows,), the films that are drawn from.
    classes : ndarray
        int (rows,); each class is divided on its own, at least one film of each class validates where it has two.
    seed : int
    """

    part: Literal["train", "validation"]
    pool: npt.NDArray[np.bool_]
    classes: npt.NDArray[np.integer]
    seed: int = 0

    def rows(self, epoch: int) -> npt.NDArray[np.bool_]:
        """Return this part's films in an epoch, bool (rows,); both parts together are the pool."""
        drawn = np.zeros_like(self.pool)
        generator = np.random.default_rng([self.seed, epoch, 2])
        for number in np.unique(self.classes[self.pool]):
            films = np.flatnonzero(self.pool & (self.classes == number))
            count = min(max(1, round(VALIDATION_SHARE * len(films))), len(films) - 1)
            drawn[generator.permutation(films)[:count]] = True
        return drawn if self.part == "validation" else self.pool & ~drawn
