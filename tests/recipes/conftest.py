"""A finished run that several tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from covidcxr_tf.config import load_config


@pytest.fixture(scope="session")
def base_run(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run folder of the base model, two classes, two epochs."""
    from covidcxr_tf.recipes.execute import execute

    changes = [f"data.manifest={phantoms}", "image.size=64", "image.tiles=4", "train.epochs=2", "train.batch_size=8"]
    out = tmp_path_factory.mktemp("runs") / "base"
    execute(load_config("base", changes), out)
    return out
