"""The run folder: the only hand-over from training to everything after it."""

from __future__ import annotations

import glob
import importlib.metadata
import json
import logging
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from covidcxr_tf import __version__
from covidcxr_tf.config import Config, dump_toml, load_config
from covidcxr_tf.errors import UsageError
from covidcxr_tf.files import write_json, write_text
from covidcxr_tf.train.checkpoints import Checkpoints, sweep
from covidcxr_tf.train.lock import NAME as LOCK
from covidcxr_tf.train.sameness import check_same_config, write_same

#: Written into ``checkpoints`` as a run's last thing.
FINISHED = "finished.json"

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
        run._begin(config)
        return run

    @classmethod
    def reopen(cls, folder: str | Path, config: Config, *, derived: Sequence[str] = ()) -> RunDir:
        """Return an interrupted run's folder; a new one where there is none, or none that had a config yet.

        Parameters
        ----------
        folder : str or path
        config : Config
            As the run began with.
        derived : sequence of str
            Keys that may differ: places that a run of several parts gives its parts.

        Raises
        ------
        UsageError
            If the folder holds something else than a run.
        ConfigError
            If the run began with another config; the message names the keys.
        """
        run = cls(folder)
        if not run.config_file.is_file():
            # A kill may have come right after the folders were made.
            sweep(run.folder)
            for path in (run.checkpoints, run.figures):
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
            return cls.create(folder, config)
        run.check_config(config, derived)
        sweep(run.folder)
        if not (run.folder / "environment.json").is_file():
            run._begin(config)
        run.checkpoints.mkdir(exist_ok=True)
        run.figures.mkdir(exist_ok=True)
        return run

    def check_config(self, config: Config, derived: Sequence[str] = ()) -> None:
        """Raise `ConfigError` where the run, if there is one, began with another config in more than `derived` keys."""
        if self.config_file.is_file():
            check_same_config(load_config(self.config_file), config, self.config_file, derived)

    def _begin(self, config: Config) -> None:
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self.figures.mkdir(exist_ok=True)
        write_text(self.config_file, dump_toml(config))
        write_json(self.folder / "environment.json", environment(config))

    @property
    def config_file(self) -> Path:
        """The resolved config."""
        return self.folder / "config.toml"

    def finish(self) -> None:
        """Mark the run as finished; what only an interrupted one needs goes."""
        write_json(self.checkpoints / FINISHED, {"schema_version": 1, "finished": True})
        Checkpoints(self.checkpoints).clear()

    def metrics(self) -> dict[str, Any] | None:
        """Return the content of ``metrics.json`` of a finished run; None of one that is not finished."""
        if not (self.checkpoints / FINISHED).is_file():
            return None
        try:
            found: dict[str, Any] = json.loads((self.folder / "metrics.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found

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
        """Write which film is in which split, or hold it against what a resumed run began with.

        Raises
        ------
        SplitError
            If a resumed run began with other films, labels or splits; the message names the first.
        """
        columns = [c for c in ("path", "patient_id", "label", "original_label", "source", "split") if c in manifest]
        write_same(self.folder / "split.csv", manifest[columns])

    def logger(self) -> logging.Logger:
        """Return a logger that writes ``train.log``."""
        logger = logging.getLogger(f"covidcxr.{self.folder}")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        if not logger.handlers:
            handler = _Quiet(self.folder / "train.log", encoding="utf-8")
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
            logger.addHandler(handler)
        return logger


class _Quiet(logging.FileHandler):
    """A log whose own faults, such as a full disk, stop nothing and print no traceback."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Leave the line out."""


def check_free(folder: str | Path) -> None:
    """Raise `UsageError` where a run folder cannot be made: it holds something, or is a file."""
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise UsageError("is a file", where=path, expected="a new folder", remedy="name another with --out")
    if path.is_dir() and any(entry.name != LOCK for entry in path.iterdir()):
        remedy = "name another with --out, or remove this one"
        if (path / "config.toml").is_file() and RunDir(path).metrics() is None:
            remedy = f"go on with it (--resume), {remedy}"
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


def last_folder(base: Path) -> Path:
    """Return which of `base`, ``base_2``, ``base_3``... to resume: the last that is not finished, else the last.

    `base` itself where there is none. Numbers decide, as clocks may be set back.
    """
    numbered = {}
    for path in base.parent.glob(f"{glob.escape(base.name)}*"):
        found = re.fullmatch(rf"{re.escape(base.name)}(?:_(\d+))?", path.name)
        if found and (path / "config.toml").is_file():
            numbered[int(found[1] or 1)] = path
    open_ones = [number for number, path in numbered.items() if RunDir(path).metrics() is None]
    return numbered[max(open_ones or numbered)] if numbered else base
