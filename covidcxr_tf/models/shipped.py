"""Models that come with the package: ``<place>/<name>/<version>/model.keras``, the newest version wins.

Places, first hit wins: the folder that ``$COVIDCXR_MODELS`` names, the checkout's ``saved_models/``, the installed
package's ``saved_models/``.
"""

from __future__ import annotations

import os
from pathlib import Path

from covidcxr_tf.catalog import nearest
from covidcxr_tf.errors import WeightsError

MODEL_FILE = "model.keras"


def model_folders() -> list[Path]:
    """Return the folders that are looked through, in this order, whether they exist or not."""
    package = Path(__file__).resolve().parents[1]
    named = os.environ.get("COVIDCXR_MODELS")
    return [*([Path(named)] if named else []), package.parent / "saved_models", package / "saved_models"]


def shipped_models() -> dict[str, Path]:
    """Return name -> path of ``model.keras`` in the newest version, for every model that is there."""
    found: dict[str, Path] = {}
    for folder in model_folders():
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            newest = newest_version(path)
            if newest is not None:
                found.setdefault(path.name, newest)
    return found


def find_shipped(name: str) -> Path:
    """Return the path of ``model.keras`` of the shipped model `name`, newest version.

    Raises
    ------
    WeightsError
        If no place holds such a model; the message names the places and the models that are there.
    """
    found = shipped_models()
    if name in found:
        return found[name]
    raise WeightsError(
        f"there is no shipped model '{name}'",
        expected=f"{name}/VERSION/{MODEL_FILE} in one of {', '.join(str(folder) for folder in model_folders())}",
        remedy=nearest(name, list(found)) or "name a model file or a run folder, or set COVIDCXR_MODELS",
    )


def shipped_versions(name: str) -> list[Path]:
    """Return the path of ``model.keras`` of every version of `name`, newest first, in the order of the places."""
    return [path for folder in model_folders() for path in _versions(folder / name)]


def newest_version(folder: Path) -> Path | None:
    """Return the path of ``model.keras`` in the newest version folder below `folder`, None where there is none."""
    return next(iter(_versions(folder)), None)


def _versions(folder: Path) -> list[Path]:
    """Return the model files, highest version first; versions are numbers: 10 is newer than 9."""
    if not folder.is_dir():
        return []
    versions = {int(path.name): path for path in folder.iterdir() if path.name.isascii() and path.name.isdigit()}
    files = [versions[version] / MODEL_FILE for version in sorted(versions, reverse=True)]
    return [path for path in files if path.is_file()]
