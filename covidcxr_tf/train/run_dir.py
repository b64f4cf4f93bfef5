"""The run folder: the only hand-over from training to everything after it."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import sys
from pathlib import Path

import pandas as pd

from covidcxr_tf import __version__
from covidcxr_tf.config import Config, dump_toml
from covidcxr_tf.errors import UsageError
from covidcxr_tf.files import write_json, write_text

PACKAGES = ("tensorflow", "keras", "numpy", "pandas", "opencv-python-headless", "scikit-image", "tf-keras-vis", "lime")


class RunDir:
    """Paths of one run folder.

    Attributes
    ----------
    folder : Path
        The folder itself.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @classmethod
    def create(cls, folder: str | Path, config: Config) -> RunDir:
        """Make the folder and write what is known before the first step: config and environment.

        Raises
        ------
        UsageError
            If the folder holds something already.
        """
        check_free(folder)
        run = cls(folder)
        run.checkpoints.mkdir(parents=True, exist_ok=True)
        run.figures.mkdir(exist_ok=True)
        write_text(run.folder / "config.toml", dump_toml(config))
        write_json(run.folder / "environment.json", environment(config))
        return run

    @property
    def model(self) -> Path:
        """The best model so far."""
        return self.folder / "model.keras"

    @property
    def checkpoints(self) -> Path:
        """Folder of what a resumed run needs."""
        return self.folder / "checkpoints"

    @property
    def figures(self) -> Path:
        """Folder of pictures."""
        return self.folder / "figures"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's event files."""
        return self.folder / "tensorboard"

    @property
    def history(self) -> Path:
        """One row an epoch."""
        return self.folder / "history.csv"

    def write_split(self, manifest: pd.DataFrame) -> None:
        """Write which film is in which split."""
        columns = [c for c in ("path", "patient_id", "label", "original_label", "source", "split") if c in manifest]
        write_text(self.folder / "split.csv", manifest[columns].to_csv(index=False))

    def logger(self) -> logging.Logger:
        """Return a logger that writes ``train.log``."""
        logger = logging.getLogger(f"covidcxr.{self.folder}")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        if not logger.handlers:
            handler = logging.FileHandler(self.folder / "train.log", encoding="utf-8")
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
            logger.addHandler(handler)
        return logger


def check_free(folder: str | Path) -> None:
    """Raise `UsageError` where a run folder cannot be made: it holds something, or is a file."""
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise UsageError("is a file", where=path, expected="a new folder", remedy="name another with --out")
    if path.is_dir() and any(path.iterdir()):
        remedy = "name another with --out, or remove this one"
        raise UsageError("the run folder is not empty", where=path, remedy=remedy)


def environment(config: Config) -> dict[str, object]:
    """Return versions, platform and the identity of a config, as JSON."""
    return {
        "schema_version": 1,
        "covidcxr_tf": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": {package: package_version(package) for package in PACKAGES},
        "config_digest": config.digest(),
        "seed": config.seed,
    }


def package_version(package: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def free_folder(base: Path) -> Path:
    """Return `base`, or `base` with the first number behind it that is not taken."""
    candidate, number = base, 1
    while candidate.exists() and any(candidate.iterdir()):
        number += 1
        candidate = base.with_name(f"{base.name}_{number}")
    return candidate
