"""Splits that leave whole sources out: what a model does with films of a hospital that it has never seen."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from covidcxr_tf.data.schema import place
from covidcxr_tf.data.splits import RATIOS, split_by_patient
from covidcxr_tf.errors import ManifestError


def hold_out_sources(
    films: pd.DataFrame, sources: Sequence[str], ratios: Sequence[float] = RATIOS, seed: int = 0
) -> pd.DataFrame:
    """Return the films with a new column `split`: all films of some sources are ``test``, the others train or validate.

    A patient with a film in a held-out source is seen by nobody before the test: the films of this patient from other
    sources are left out.

    Parameters
    ----------
    films : pd.DataFrame
        With `path`, `label`, `patient_id` and `source`. A `split` that is there is replaced.
    sources : sequence of str
        Those held out.
    ratios : sequence of three floats
        The shares of train and validation are taken, relative to each other.
    seed : int
        Of the division into train and validation.

    Raises
    ------
    ManifestError
        If there is no column `source`, a source has no film, or nothing is left to train on.
    SplitError, UsageError
        As `split_by_patient`.
    """
    where = films.attrs.get("manifest", "manifest")
    if "source" not in films:
        raise ManifestError("no column 'source', but data.test_sources is set", where=where)
    stray = [source for source in sources if not films["source"].eq(source).any()]
    if stray:
        known = ", ".join(sorted(films["source"].dropna().unique()))
        raise ManifestError(
            f"no film of the source '{stray[0]}'", where=place(where, None, "source"), expected=f"some of {known}"
        )
    held = films["source"].isin(list(sources))
    seen = films["patient_id"].isin(films.loc[held, "patient_id"])
    rest = films[~held & ~seen]
    if rest.empty:
        raise ManifestError("every patient has a film of the held-out sources", where=where)
    used = ratios[0] + ratios[1]
    rest = split_by_patient(rest, (ratios[0] / used, 1 - ratios[0] / used, 0.0), seed)
    both = pd.concat([rest, films[held].assign(split="test")]).sort_index()
    both.attrs = films.attrs
    return both
