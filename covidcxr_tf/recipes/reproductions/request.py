"""What a reproduction was asked for, the folder it works in, and its synthetic films."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from covidcxr_tf.catalog import nearest
from covidcxr_tf.data.synthetic import DEFAULT_LABELS, write_demo
from covidcxr_tf.errors import UsageError
from covidcxr_tf.files import write_json
from covidcxr_tf.recipes.reproductions.bench import check_settings

DOCUMENT = "reproduction.json"
TAKEN = {"seed": "--seed", "data.manifest": "--data", "data.root": "--root"}
#: Patients a label and longest side in px of the synthetic films: (smoke, otherwise).
PATIENTS, SIZES = (8, 20), (128, 512)


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    key: str
    data: str
    root: str
    smoke: bool
    repeats: int
    seed: int
    settings: tuple[str, ...]
    only: tuple[str, ...]
    masks: str = ""
    masks_root: str = ""

    def identity(self) -> str:
        """Return a digest of all that decides the numbers but the number of seeds and the choice of experiments."""
        films = hashlib.sha256(Path(self.data).read_bytes()).hexdigest() if self.data else ""
        what = [self.key, films, self.smoke, self.seed, list(self.settings)]
        if self.masks:
            what.append(hashlib.sha256(Path(self.masks).read_bytes()).hexdigest())
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def check_request(request: Request, names: Sequence[str]) -> None:
    """Raise `UsageError` (`ConfigError` for a setting) for a request that cannot be met, before any film is made.

    `names` are those of the paper's experiments.
    """
    if request.repeats < 1:
        raise UsageError(f"repeats {request.repeats}", expected="1 or more")
    if not 0 <= request.seed < 2**31 - request.repeats:
        raise UsageError(f"seed {request.seed}", expected="0 or more, below 2147483648 with all repeats")
    if request.root and not request.data:
        raise UsageError("--root goes with --data")
    if request.masks_root and not request.masks:
        raise UsageError("--masks-root goes with --masks")
    if request.masks and not request.data:
        raise UsageError("--masks goes with --data", expected="real films, or synthetic ones with their own masks")
    check_settings(request.settings)
    for setting in request.settings:
        name = setting.partition("=")[0].rpartition(":")[2].strip()
        if name in TAKEN:
            raise UsageError(f"'{name}' cannot be set here", remedy=f"use {TAKEN[name]}")
    for name in request.only:
        if name not in names:
            hint = nearest(name, list(names)) or None
            raise UsageError(f"'{name}' is no experiment of {request.key}", expected=", ".join(names), remedy=hint)


def read_document(folder: Path) -> dict[str, Any] | None:
    """Return a folder's ``reproduction.json``, or None where there is none that can be read."""
    try:
        found = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def open_folder(out: str | Path | None, key: str, identity: str) -> Path:
    """Return the folder to work in: a new one, or one that this reproduction was begun in.

    Raises
    ------
    UsageError
        If the named folder holds anything else.
    """
    if out is not None:
        folder = Path(out)
        if _is_free(folder) or _goes_on(folder, key, identity):
            return folder
        raise UsageError(
            "the folder holds something else, or a reproduction of other films, seed or settings",
            where=folder,
            remedy="name another with --out",
        )
    base, number = Path("runs") / f"reproduce_{key}", 1
    folder = base
    while not _is_free(folder):
        if _goes_on(folder, key, identity) and not (read_document(folder) or {}).get("finished"):
            print(f"goes on in {folder}", file=sys.stderr)
            break
        number += 1
        folder = base.with_name(f"{base.name}_{number}")
    return folder


def synthetic_films(module: ModuleType, folder: Path, seed: int, smoke: bool) -> Path:
    """Return the manifest of a reproduction's synthetic films, made on first use.

    A module's ``smoke_films(folder, seed)`` makes the folder, which is not there yet, and returns a manifest in it.
    """
    marker = folder.with_name(f"{folder.name}.json")
    made_with = {"seed": seed, "smoke": smoke}
    if marker.is_file():
        found = json.loads(marker.read_text(encoding="utf-8"))
        manifest = folder / found.pop("manifest")
        if found == made_with:
            return manifest
    shutil.rmtree(folder, ignore_errors=True)  # what an interruption or a mistaken command left
    make: Callable[[Path, int], Path] | None = getattr(module, "smoke_films", None)
    if make is not None:
        manifest = make(folder, seed)
    else:
        labels = tuple(getattr(module, "SMOKE_LABELS", DEFAULT_LABELS))
        patients, size = (PATIENTS[0], SIZES[0]) if smoke else (PATIENTS[1], SIZES[1])
        manifest = write_demo(folder, patients * len(labels), seed, size, labels)
    write_json(marker, {"manifest": manifest.relative_to(folder).as_posix(), **made_with})
    return manifest


def _goes_on(folder: Path, key: str, identity: str) -> bool:
    """Return whether a folder holds this very reproduction, or one of the paper that never came to a run.

    The second is what a mistyped setting leaves behind: it should not cost the folder's name.
    """
    earlier = read_document(folder)
    if earlier is None or earlier.get("key") != key:
        return False
    untouched = not earlier.get("finished") and not any(folder.glob("repeat_*/runs/*"))
    return earlier.get("identity") == identity or untouched


def _is_free(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
