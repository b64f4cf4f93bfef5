"""Films that stand in a manifest more than once: the same file, or the same picture saved anew."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from covidcxr_tf.data.fingerprints import Fingerprints, fingerprint
from covidcxr_tf.data.schema import HEADER_ROWS

# Bits of 256. Measured on 2,895 films of five sources: 664 of 667 known copies (other size, format or quality) are at
# most 4 apart (the other 3 have one damaged file in common), no two films of different patients less than 54. What lies
# between is one patient: other crops of a film, or repeated films.
RADIUS = 32
COLUMNS = ("row_a", "row_b", "path_a", "path_b", "kind", "distance", "same_patient", "same_label", "same_split")
_CELLS = 2**22  # distances held at once


def find_duplicates(
    films: pd.DataFrame,
    *,
    radius: int = RADIUS,
    fingerprints: Fingerprints | None = None,
    progress: Callable[[], None] | None = None,
) -> pd.DataFrame:
    """Return the pairs of films that are one picture.

    Parameters
    ----------
    films : pd.DataFrame
        A loaded manifest.
    radius : int
        Largest Hamming distance of two perceptual hashes of 256 bits; 0 finds only films that look the same throughout.
    fingerprints : Fingerprints, optional
        Of these films, if they are there already; else the films are read. What cannot be read is left out.
    progress : callable, optional
        Called after each film that is read.

    Returns
    -------
    pd.DataFrame
        One row a pair, sorted by row: `row_a` < `row_b` as a spreadsheet counts, `path_a`, `path_b`, `kind`
        ("identical": equal bytes, "near": similar), `distance` in bits, `same_patient`, `same_label` and
        `same_split` (None where the films have no `split` and no `fold`). Of several identical files each is paired
        with the first, and only the first is compared with others.
    """
    prints = fingerprint(films, progress=progress) if fingerprints is None else fingerprints
    identical, first = _identical_pairs(prints.sha256)
    candidates = np.flatnonzero(prints.hashed & first)
    near, distances = near_pairs(prints.hashes[candidates], radius)
    pairs = np.concatenate([identical, candidates[near]])
    kinds = np.array(["identical"] * len(identical) + ["near"] * len(near), dtype=object)
    found = np.concatenate([np.zeros(len(identical), dtype=np.int64), distances])
    return _describe(films.loc[prints.index], pairs, kinds, found)


def near_pairs(hashes: npt.NDArray[np.uint64], radius: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return all pairs of hashes that differ in at most `radius` bits.

    Parameters
    ----------
    hashes : ndarray of uint64, (n, words)
    radius : int

    Returns
    -------
    pairs : ndarray of int64, (pairs, 2)
        Positions, the smaller first, sorted.
    distances : ndarray of int64, (pairs,)
        In bits.
    """
    count, words = hashes.shape
    half = (words + 1) // 2
    columns = np.ascontiguousarray(hashes.T)
    step = max(1, _CELLS // max(count, 1))
    pairs = [np.zeros((0, 2), dtype=np.int64)]
    distances = [np.zeros(0, dtype=np.int64)]
    for start in range(0, count, step):
        rows = slice(start, min(start + step, count))
        # Half of the bits rule out nearly all pairs: only the few that are left are counted to the end.
        apart = _bits_apart(columns[:half, rows], columns[:half, start:])
        one, other = np.nonzero(apart <= radius)
        one, other = one[other > one] + start, other[other > one] + start
        total = np.bitwise_count(hashes[one] ^ hashes[other]).sum(axis=1, dtype=np.int64)
        kept = total <= radius
        pairs.append(np.stack([one[kept], other[kept]], axis=1))
        distances.append(total[kept])
    return np.concatenate(pairs), np.concatenate(distances)


def _bits_apart(one: npt.NDArray[np.uint64], other: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint16]:
    """Return the Hamming distance of each column of `one` from each of `other`."""
    apart = np.zeros((one.shape[1], other.shape[1]), dtype=np.uint16)
    for first, second in zip(one, other, strict=True):
        apart += np.bitwise_count(first[:, None] ^ second[None, :])
    return apart


def _identical_pairs(sha256: list[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the pairs (first, later one) of equal digests, and which film is the first with its digest."""
    seen: dict[str, int] = {}
    pairs = []
    first = np.ones(len(sha256), dtype=bool)
    for number, digest in enumerate(sha256):
        if not digest:
            continue
        before = seen.setdefault(digest, number)
        if before != number:
            pairs.append((before, number))
            first[number] = False
    return np.array(pairs, dtype=np.int64).reshape(-1, 2), first


def _describe(
    films: pd.DataFrame,
    pairs: npt.NDArray[np.int64],
    kinds: npt.NDArray[np.object_],
    distances: npt.NDArray[np.int64],
) -> pd.DataFrame:
    rows = films.index.to_numpy(dtype=np.int64) + HEADER_ROWS
    # rows of the file in their order, also where the films are in another
    one, other = np.take_along_axis(pairs, rows[pairs].argsort(axis=1), axis=1).T
    paths = films["path"].to_numpy(dtype=object)
    table = pd.DataFrame(
        {
            "row_a": rows[one],
            "row_b": rows[other],
            "path_a": paths[one],
            "path_b": paths[other],
            "kind": kinds,
            "distance": distances,
            "same_patient": _equal(films["patient_id"], one, other),
            "same_label": _equal(films["label"], one, other),
            "same_split": None,
        },
        columns=list(COLUMNS),
    )
    part = next((name for name in ("split", "fold") if name in films.columns), None)
    if part is not None:
        table["same_split"] = _equal(films[part], one, other)
    return table.sort_values(["row_a", "row_b"], ignore_index=True)


def _equal(cells: pd.Series, one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    texts = cells.astype(str).to_numpy(dtype=object)
    return np.asarray(texts[one] == texts[other], dtype=bool)
