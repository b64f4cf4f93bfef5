"""Films of a manifest that a paper's experiment takes: of some sources, of adults, and drawn by whole patients."""

from __future__ import annotations

import numpy as np
import pandas as pd

#: Beginnings of the names of sources that hold children's films only, and the age from which a patient is none.
CHILDREN = ("kermany",)
ADULT = 18


def is_child(films: pd.DataFrame) -> pd.Series:
    """Return whether each film is of a child, by its source or its age; False where neither tells."""
    source = films["source"].astype(str) if "source" in films else pd.Series("", index=films.index)
    age = pd.to_numeric(films["age"], errors="coerce") if "age" in films else pd.Series(np.nan, index=films.index)
    return source.str.startswith(CHILDREN) | (age < ADULT)


def of_sources(films: pd.DataFrame, wanted: tuple[str, ...]) -> pd.DataFrame:
    """Return the films of some sources (empty: all), index 0..n-1.

    ``data.sources`` must have its say before films are drawn, or it would thin the draw out.
    """
    if not wanted or "source" not in films:
        return films
    chosen = films[films["source"].isin(wanted)].reset_index(drop=True)
    chosen.attrs = films.attrs
    return chosen


def draw_patients(films: pd.DataFrame, count: int, seed: int, stream: int = 0) -> tuple[str, ...]:
    """Return patients in a random order whose films number at most `count`; one that no longer fits is passed over.

    Of the same films, seed and stream a smaller count gives the first patients of a larger one, but for those passed
    over, so that experiments of different sizes share most of their films.

    Parameters
    ----------
    films : DataFrame
        With ``patient_id``.
    count : int
        Films, all of a patient's rows counting.
    seed, stream : int
        Another stream gives another order.
    """
    sizes = films.groupby("patient_id", sort=True).size()
    order = np.random.default_rng([seed, stream]).permutation(len(sizes))
    chosen, left = [], count
    for place in order:
        if sizes.iloc[place] <= left:
            chosen.append(str(sizes.index[place]))
            left -= int(sizes.iloc[place])
    return tuple(chosen)
