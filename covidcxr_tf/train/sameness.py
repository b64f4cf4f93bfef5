"""Whether a run that is resumed is still the one that began: its config and its split, difference by difference."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from covidcxr_tf.config import Config
from covidcxr_tf.errors import ConfigError, SplitError
from covidcxr_tf.files import write_text

#: Entries that change nothing of what a run does: how often it is saved, and what a config says about itself.
NO_EFFECT = ("train.checkpoint_steps", "train.steps_per_execution", "source", "smoke")
#: Entries that came later, with what was done before they were there: runs that began without them can be resumed.
LATER = {
    "train.lr_scaling": "none",
    "train.base_batch_size": 0,
    "train.accumulate_steps": 1,
    "train.decay": "none",
    "model.low_pass": 0,
    "model.mirrored": False,
    "image.redistribution": "opencv",
    "image.level_steps": 1,
    "image.lung_edges": "region",
}
#: Places that a run of several parts gives its parts. They move with its folder; what lies there is compared.
PLACES = ("data.manifest", "data.root", "model.init")
REMEDY = "resume with what the run began with, or begin a new one with another --out"


def check_same_config(old: Config, new: Config, where: Path, derived: Sequence[str] = ()) -> None:
    """Raise where two configs differ in more than `derived` keys.

    Raises
    ------
    ConfigError
        Naming each key that differs, its old and its new value.
    """
    found = [
        f"{key} was {before!r} and is {after!r}"
        for key, before, after in _differences(old.model_dump(mode="json"), new.model_dump(mode="json"))
        if key not in derived and not key.startswith(NO_EFFECT)
    ]
    if found:
        raise ConfigError(f"the config has changed since the run began: {'; '.join(found)}", where=where, remedy=REMEDY)


def config_digest(config: Config) -> str:
    """Return the SHA-256 (hex) of a config without `PLACES`, `NO_EFFECT`, and `LATER` ones that change nothing."""
    table = config.model_dump(mode="json")
    for key in (*PLACES, *NO_EFFECT, *LATER):
        *parents, last = key.split(".")
        inside = table
        for parent in parents:
            inside = inside[parent]
        if key not in LATER or inside[last] == LATER[key]:
            inside.pop(last)
    # Not sorted: the order of the classes is that of the model's outputs.
    return hashlib.sha256(json.dumps(table).encode()).hexdigest()


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield dotted key, old and new value; ``classes`` as a whole, as its order counts."""
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            if key != "classes":
                yield from _differences(before, after, f"{prefix}{key}.")
            elif list(before.items()) != list(after.items()):
                yield prefix + key, before, after
        elif before != after:
            yield prefix + key, before, after


def write_same(path: Path, films: pd.DataFrame) -> None:
    """Write a table of films that a resumed run reads again, or hold it against the one that is there.

    Raises
    ------
    SplitError
        As `check_same_split`.
    """
    if path.is_file():
        check_same_split(path, films)
    else:
        write_text(path, films.to_csv(index=False))


def check_same_split(path: Path, films: pd.DataFrame) -> None:
    """Raise where a stored split is not that of `films`.

    Parameters
    ----------
    path : Path
        A table as the run wrote it; columns that only one of the two has do not count.
    films : DataFrame
        path, patient_id, split (or fold), label...

    Raises
    ------
    SplitError
        Naming the first film that differs, old and new.
    """
    old = pd.read_csv(path, dtype=str, keep_default_na=False).set_index("path")
    new = films.astype(str).set_index("path")
    for name in [str(name) for name in (*old.index.difference(new.index)[:1], *new.index.difference(old.index)[:1])]:
        gone = "is not among the films any more" if name in old.index else "is new"
        raise SplitError(f"the films have changed since the run began: {name} {gone}", where=path, remedy=REMEDY)
    for column in [name for name in ("split", "fold", "label", "patient_id", "original_label") if name in old]:
        if column not in new:
            continue
        before, after = old[column].to_dict(), new[column].to_dict()
        changed = [name for name in before if before[name] != after[name]]
        for first in changed[:1]:
            raise SplitError(
                f"the films have changed since the run began: the {column} of {first} was "
                f"'{before[first]}' and is '{after[first]}' ({len(changed)} films differ)",
                where=path,
                remedy=REMEDY,
            )
