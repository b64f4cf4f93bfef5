"""A model and any number of films to a table on disk: in parts, by shares of the films, gone on with after a kill."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covidcxr_tf import __version__, ledger
from covidcxr_tf.data.manifest import row_place
from covidcxr_tf.errors import ImageError, ManifestError, Stopped, UsageError
from covidcxr_tf.evaluate.table import in_order
from covidcxr_tf.evaluate.table_files import QUARANTINE, is_parquet
from covidcxr_tf.files import write_json, write_text
from covidcxr_tf.interrupts import Noted
from covidcxr_tf.models.files import model_digest
from covidcxr_tf.predict import UNREADABLE, Classifier, EnsembleModel, decide, predictions_table
from covidcxr_tf.predict_parts import AGAIN, Part, Parts, refuse_difference
from covidcxr_tf.predict_stream import THREADS, Answers, answers, batch_films, members_of
from covidcxr_tf.progress import Progress

#: Films a part: what a kill can lose at most.
FILMS_PER_PART = 512
#: Columns of a manifest that a table takes over.
TAKEN = ("path", "patient_id", "label", "split", "source", "original_label", "findings")


@dataclass(frozen=True)
class Predicted:
    """What was written: the table, its number of films, and path and reason of those that could not be read."""

    out: Path
    films: int
    bad: tuple[tuple[str, str], ...]


def predict_to_file(
    loaded: Classifier,
    manifest: pd.DataFrame,
    out: str | Path,
    *,
    shard: tuple[int, int] | None = None,
    resume: bool = False,
    part_films: int = FILMS_PER_PART,
    threads: int = THREADS,
    frame: int | None = None,
    signals: Noted | None = None,
) -> Predicted:
    """Write the predictions table of a manifest's films, as Parquet if the suffix says so and else as CSV.

    One row a film, in the order of the manifest. ``status`` is 0, 1 where the film could not be read (its
    probabilities are empty) or 2 where no lungs were found and the whole film was used. Memory is bounded by a part.

    Parameters
    ----------
    loaded : LoadedModel, HierarchicalModel or EnsembleModel
    manifest : DataFrame
        Index 0..n-1.
    out : str or path
    shard : tuple of int, optional
        ``(i, n)``: the i-th of n shares of the rows, from 1 on. The tables of all shares, one below the other, are the
        whole table.
    resume : bool
        Go on with an interrupted run: what it had finished is not computed again.
    part_films : int
        Films a part: what a kill loses at most.
    threads : int
        That read and prepare films.
    frame : int, optional
        Which frame of multi-frame films, from 0.
    signals : Noted, optional
        Looked at after each batch.

    Raises
    ------
    ManifestError
        If a film stands in the manifest twice.
    UsageError
        If what is there is of another model, other films or other settings, or of a run to be resumed.
    ImageError
        If no film could be read: no table is written.
    Stopped
        After SIGTERM; what is computed is kept.
    """
    out = Path(out)
    _refuse_twice(manifest)
    start, stop = share(len(manifest), shard)
    plan = plan_of(loaded, manifest, out, shard, frame)
    parts = Parts(out, plan)
    keep = resume or shard is not None
    with parts.held():
        done = _finished_table(out, plan) if resume and not (parts.folder / "plan.json").is_file() else None
        if done is not None:
            return done
        parts.begin(resume)
        ask = partial(answers, loaded, manifest, threads=threads, frame=frame)
        found = _predict_parts(loaded, manifest, parts, start, stop, part_films, ask, signals or Noted())
        bad = tuple(film for part in found for film in part.bad)
        if len(bad) == stop - start and shard is None:
            parts.clear()
            raise ImageError(f"no film could be read: {bad[0][1]}", where=manifest.attrs.get("manifest"))
        parts.join(found)
        _write_beside(out, bad, plan if keep else None)
        parts.clear()
    return Predicted(out, stop - start, bad)


def share(films: int, shard: tuple[int, int] | None) -> tuple[int, int]:
    """Return the first row of a share and the one after its last: ``(i, n)`` is the i-th of n, from 1 on.

    Raises
    ------
    UsageError
        If there is no such share, or it holds no film.
    """
    number, count = shard or (1, 1)
    if not 1 <= number <= count:
        raise UsageError(f"shard {number}/{count}", expected=f"1/{count} to {count}/{count}")
    start, stop = films * (number - 1) // count, films * number // count
    if start == stop:
        raise UsageError(
            f"shard {number}/{count} of {films} films is empty", expected="at most as many shards as films"
        )
    return start, stop


def plan_of(
    loaded: Classifier,
    manifest: pd.DataFrame,
    out: Path,
    shard: tuple[int, int] | None = None,
    frame: int | None = None,
) -> dict[str, Any]:
    """Return all that decides the bytes of a table, but for the films' own content."""
    members = members_of(loaded)
    model: dict[str, Any] = {
        "name": loaded.name,
        "sha256": [member.digest for member in members],
        "lungs sha256": [None if member.lungs is None else member.lungs.sha256 for member in members],
    }
    if isinstance(loaded, EnsembleModel):
        model["file sha256"] = model_digest(loaded.path)
    return {
        "schema_version": 1,
        "model": model,
        "manifest": {"films": len(manifest), "sha256": manifest_digest(manifest)},
        "settings": {
            "version": __version__,
            "batch": batch_films(loaded, len(manifest)),
            "shard": None if shard is None else f"{shard[0]}/{shard[1]}",
            "frame": frame,
            "format": "parquet" if is_parquet(out) else "csv",
        },
    }


def _refuse_twice(manifest: pd.DataFrame) -> None:
    # The same relative path may stand in two collections.
    identity = [name for name in ("path", "source") if name in manifest]
    for row in np.flatnonzero(manifest.duplicated(identity).to_numpy())[:1]:
        path, where = manifest["path"].iloc[row], row_place(manifest, int(row), "path")
        raise ManifestError(f"the film '{path}' stands there twice", where=where)


def manifest_digest(manifest: pd.DataFrame) -> str:
    """Return a digest of the rows of a manifest, as far as a table takes them over."""
    digest = hashlib.sha256()
    for column in TAKEN:
        if column in manifest:
            digest.update(f"\n{column}\n".encode())
            for start in range(0, len(manifest), 4096):
                cells = [str(cell) for cell in manifest[column].iloc[start : start + 4096]]
                digest.update(json.dumps(cells).encode())
    return digest.hexdigest()


def _predict_parts(
    loaded: Classifier,
    manifest: pd.DataFrame,
    parts: Parts,
    start: int,
    stop: int,
    part_films: int,
    ask: Callable[[int, int], Iterator[Answers]],
    signals: Noted,
) -> list[Part]:
    """Return the parts of rows `start` to `stop`: those that are there, and those that `ask` computes now."""
    known = parts.finished(manifest)
    found: list[Part] = []
    gaps: list[tuple[int, int]] = []
    at = start
    for first in [*sorted(row for row in known if start <= row), stop]:
        if first < at:  # another cut of rows that are covered already
            continue
        if first > at:
            gaps.append((at, first))
        if first < stop:
            found.append(known[first])
            at = known[first].stop
    missing = sum(last - first for first, last in gaps)
    if found:
        print(f"predict: {stop - start - missing} of {stop - start} films are there already", file=sys.stderr)
    progress = Progress(missing, "predict")
    for first, last in gaps:
        gathered: list[Answers] = []
        for batch in ask(first, last):
            gathered.append(batch)
            progress.advance(len(batch.rows))
            end = int(batch.rows[-1]) + 1
            if end == last or signals.wanted or sum(len(one.rows) for one in gathered) >= part_films:
                found.append(_write_part(loaded, manifest, parts, gathered))
                gathered = []
            if signals.wanted:
                raise _stop(signals, missing - progress.done, parts)
    progress.close()
    return sorted(found, key=lambda part: part.start)


def _write_part(loaded: Classifier, manifest: pd.DataFrame, parts: Parts, gathered: Sequence[Answers]) -> Part:
    bad = {row: fault for one in gathered for row, fault in one.bad.items()}
    for fault in bad.values():
        print(f"unreadable: {fault}", file=sys.stderr)
    table = in_order(part_table(loaded, manifest, gathered), parts.out)
    listed = [(str(manifest.at[row, "path"]), str(fault)) for row, fault in bad.items()]
    return parts.write(table, int(gathered[0].rows[0]), [stamp for one in gathered for stamp in one.stamps], listed)


def part_table(loaded: Classifier, manifest: pd.DataFrame, gathered: Sequence[Answers]) -> pd.DataFrame:
    """Return the rows of a predictions table for some batches of answers."""
    rows = np.concatenate([one.rows for one in gathered])
    status = np.concatenate([one.status for one in gathered])
    probabilities = np.concatenate([one.probabilities for one in gathered])
    table = predictions_table(manifest.iloc[rows], probabilities, loaded.classes, loaded.task)
    more = {name: np.concatenate([one.columns[name] for one in gathered]) for name in gathered[0].columns}
    table = table.assign(status=status, **more)
    if loaded.task != "multilabel":
        table = decide(table, loaded.classes, loaded.positive, getattr(loaded, "threshold", None))
    table.loc[status == UNREADABLE, "predicted"] = ""
    return table


def _stop(signals: Noted, left: int, parts: Parts) -> BaseException:
    if signals.wanted == signal.SIGINT:
        return KeyboardInterrupt()
    return Stopped(
        f"stopped by SIGTERM with {left} films left; what is computed is kept", where=parts.folder, remedy=AGAIN
    )


def _facts_file(out: Path) -> Path:
    return out.with_name(out.name + ".json")


def _quarantine(out: Path) -> Path:
    return out.with_name(out.name.removesuffix(out.suffix) + QUARANTINE)


def _write_beside(out: Path, bad: Sequence[tuple[str, str]], plan: Mapping[str, Any] | None) -> None:
    """Write why films could not be read, and for a run that may be gone on with what the table is of."""
    if bad:
        write_text(_quarantine(out), pd.DataFrame(bad, columns=["path", "reason"]).to_csv(index=False))
    else:
        _quarantine(out).unlink(missing_ok=True)
    if plan is None:
        _facts_file(out).unlink(missing_ok=True)
    else:
        write_json(_facts_file(out), {**plan, "table": {"sha256": ledger.sha256(out)}})


def _finished_table(out: Path, plan: Mapping[str, Any]) -> Predicted | None:
    """Return the table that a run has finished already, None where there is none or its bytes changed."""
    try:
        facts = json.loads(_facts_file(out).read_text())
        written = facts.pop("table")["sha256"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if ledger.sha256(out) != written:
        return None
    refuse_difference(facts, plan, out)
    bad: tuple[tuple[str, str], ...] = ()
    if _quarantine(out).is_file():
        listed = pd.read_csv(_quarantine(out), dtype=str)
        bad = tuple(zip(listed["path"], listed["reason"], strict=True))
    films = share(plan["manifest"]["films"], _numbers(plan["settings"]["shard"]))
    return Predicted(out, films[1] - films[0], bad)


def _numbers(shard: str | None) -> tuple[int, int] | None:
    if shard is None:
        return None
    number, count = shard.split("/")
    return int(number), int(count)
