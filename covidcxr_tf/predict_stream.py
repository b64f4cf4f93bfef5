"""Films to probabilities as a stream: read and prepared by threads, through the network in batches of one size.

A film is held at its own size only while a thread prepares it; what waits for the network is as large as the network's
input. Every batch is filled up to the same size: a film's probabilities hang neither on its neighbours nor on where the
films are cut into shards and parts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from covidcxr_tf.combined import EnsembleModel, HierarchicalModel, combine_levels, mean_of_logits
from covidcxr_tf.data.manifest import film_path
from covidcxr_tf.errors import ImageError
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.parallel import in_order
from covidcxr_tf.predict import OK, UNREADABLE, Classifier, LoadedModel, PatchModel

#: Threads that read and prepare films.
THREADS = os.cpu_count() or 1


@dataclass(frozen=True)
class Answers:
    """What is known of the films of some rows.

    Attributes
    ----------
    rows : ndarray
        int64 (N,), rows of the manifest.
    status : ndarray
        int8 (N,): 0 ok, 1 unreadable, 2 no lungs found and the whole film used.
    probabilities : ndarray
        float64 (N, classes); NaN where the film could not be read.
    columns : dict
        What else a predictions table says of each film: column -> float64 (N,), NaN where it could not be read.
    stamps : tuple of str
        Of each film's file, as `film_stamp`.
    bad : dict
        Row -> why its film could not be read.
    """

    rows: np.ndarray
    status: np.ndarray
    probabilities: np.ndarray
    columns: dict[str, np.ndarray]
    stamps: tuple[str, ...]
    bad: dict[int, ImageError]


@dataclass(frozen=True)
class _Taken:
    """One film as the networks of a model see it: an input a member."""

    row: int
    stamp: str
    arrays: tuple[np.ndarray, ...] = ()
    status: int = OK
    fault: ImageError | None = None


def answers(
    loaded: Classifier,
    manifest: pd.DataFrame,
    start: int,
    stop: int,
    *,
    batch_size: int = 16,
    threads: int = THREADS,
    frame: int | None = None,
) -> Iterator[Answers]:
    """Yield the answers to the films of rows `start` to `stop`, a batch at a time, in order.

    A film that cannot be read is an answer, too: status 1. `frame` chooses one of a multi-frame film, from 0.
    """
    members = members_of(loaded)
    size = batch_films(loaded, len(manifest), batch_size)

    def take(row: int) -> _Taken:
        path = film_path(manifest, row)
        stamp = film_stamp(path)
        try:
            film = read_image(path, frame=frame)
        except ImageError as fault:
            return _Taken(row, stamp, status=UNREADABLE, fault=fault)
        seen = [member.film_input(film) for member in members]
        return _Taken(row, stamp, tuple(one.array for one in seen), max(one.status for one in seen))

    batch: list[_Taken] = []
    for taken in in_order(take, range(start, stop), threads, 2 * size + threads):
        batch.append(taken)
        if len(batch) == size or taken.row == stop - 1:
            yield _answer_batch(loaded, batch, size)
            batch = []


def members_of(loaded: Classifier) -> tuple[LoadedModel, ...]:
    """Return the networks that a model is made of."""
    if isinstance(loaded, HierarchicalModel):
        return loaded.first, loaded.second
    return loaded.members if isinstance(loaded, EnsembleModel) else (loaded,)


def batch_films(loaded: Classifier, films: int, batch_size: int = 16) -> int:
    """Return how many films go through the network together: fewer where they are large, or the manifest is short.

    It hangs on the length of the whole manifest, not of a shard of it.
    """
    return max(1, min(batch_size, loaded.films_at_once, films))


def extra_columns(loaded: Classifier) -> tuple[str, ...]:
    """Return the columns that a model adds to a predictions table."""
    if isinstance(loaded, HierarchicalModel):
        return ()
    if isinstance(loaded, EnsembleModel):
        return tuple(sorted(set.intersection(*(set(extra_columns(member)) for member in loaded.members))))
    if isinstance(loaded, PatchModel):
        return ("patch_coverage",)
    return () if loaded.gate is None else ("ood_score",)


def film_stamp(path: Path) -> str:
    """Return size and time of change of a film's file, which stand for its content; empty where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return ""
    return f"{stat.st_size}|{stat.st_mtime_ns}"


def _answer_batch(loaded: Classifier, batch: Sequence[_Taken], size: int) -> Answers:
    good = [place for place, taken in enumerate(batch) if taken.fault is None]
    probabilities = np.full((len(batch), len(loaded.classes)), np.nan)
    columns = {name: np.full(len(batch), np.nan) for name in extra_columns(loaded)}
    if good:
        found, more = _answer(loaded, [batch[place].arrays for place in good], size)
        probabilities[good] = found
        for name, values in more.items():
            columns[name][good] = values
    return Answers(
        np.array([taken.row for taken in batch], np.int64),
        np.array([taken.status for taken in batch], np.int8),
        probabilities,
        columns,
        tuple(taken.stamp for taken in batch),
        {taken.row: taken.fault for taken in batch if taken.fault is not None},
    )


def _answer(
    loaded: Classifier, films: Sequence[tuple[np.ndarray, ...]], size: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return what ``predict_with_columns`` of the model gives, for films that its networks' inputs are made of."""
    found = [
        _answer_one(member, [arrays[number] for arrays in films], size)
        for number, member in enumerate(members_of(loaded))
    ]
    if isinstance(loaded, HierarchicalModel):
        return combine_levels(found[0][0], found[1][0]), {}
    if isinstance(loaded, EnsembleModel):
        means = {name: np.mean([more[name] for _, more in found], axis=0) for name in extra_columns(loaded)}
        return mean_of_logits(np.stack([values for values, _ in found]), loaded.task), means
    return found[0]


def _answer_one(
    member: LoadedModel, arrays: Sequence[np.ndarray], size: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    if isinstance(member, PatchModel):  # its batches are of one film's patches
        votes = [member.vote(array) for array in arrays]
        return np.stack([vote.probabilities for vote in votes]), {
            "patch_coverage": np.array([vote.coverage for vote in votes])
        }
    batch = np.zeros((size, *arrays[0].shape), np.float32)
    np.stack(arrays, out=batch[: len(arrays)])
    batch /= np.float32(255)
    probabilities, scores = member.answer(batch)
    more = {} if scores is None else {"ood_score": scores[: len(arrays)]}
    return probabilities[: len(arrays)], more
