"""Changes of a film that take away what a reader needs, or what a shortcut needs."""

from __future__ import annotations

import numpy as np

from covidcxr_tf.audit.evidence import Film, Look
from covidcxr_tf.imaging.crop import region_at

#: Share of rows and columns at each side that counts as border.
BORDER = 0.1
#: Rows and columns of each corner, as shares of the film, where burnt-in text stands.
CORNER = (0.15, 0.25)


def hide_lungs(film: Film, look: Look) -> Film:
    """Return the film with the bounding box of its lungs black; its middle half where no lungs were found.

    Source: Maguolo & Nanni 2021, who black out a rectangle in the middle.
    """
    rows, columns = film.shape
    top, bottom, left, right = rows // 4, rows - rows // 4, columns // 4, columns - columns // 4
    if look.lungs is not None:
        inside = region_at(look.lungs, film.shape) > 0
        occupied_rows, occupied_columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        top, bottom = occupied_rows[0], occupied_rows[-1] + 1
        left, right = occupied_columns[0], occupied_columns[-1] + 1
    hidden = film.copy()
    hidden[top:bottom, left:right] = 0
    return hidden


def keep_border(film: Film, look: Look) -> Film:
    """Return the outer tenth of the film, all else black."""
    del look  # the border is the film's, wherever its lungs are
    rows, columns = (max(1, round(BORDER * length)) for length in film.shape)
    kept = film.copy()
    kept[rows:-rows, columns:-columns] = 0
    return kept


def cover_corners(film: Film, look: Look) -> Film:
    """Return the film with each corner, but for the lungs in it, at that corner's median level.

    Not black: a black corner is itself something that no film of the set may have.
    """
    rows, columns = (max(1, round(share * length)) for share, length in zip(CORNER, film.shape, strict=True))
    free = np.ones(film.shape, bool) if look.lungs is None else region_at(look.lungs, film.shape) == 0
    covered = film.copy()
    for row in (slice(0, rows), slice(-rows, None)):
        for column in (slice(0, columns), slice(-columns, None)):
            corner, open_to = covered[row, column], free[row, column]
            corner[open_to] = np.median(corner)
    return covered
