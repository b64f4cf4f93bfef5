"""A handful of prepared films whose pixels tell which film they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.prepare import Prepared, _write_shards

SIDE = 16


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Return 23 training and 7 validation films; film number n is grey level n all over, its mask is its left half."""
    folder = tmp_path_factory.mktemp("shards")
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, : SIDE // 2] = 1

    def film(number: int) -> tuple[int, bytes, bytes]:
        return number, np.full((SIDE, SIDE, 1), number, np.uint8).tobytes(), mask.tobytes()

    def shards(group: str, numbers: range) -> list[Path]:
        return [folder / name for name in _write_shards(folder, group, map(film, numbers))]

    manifest = pd.DataFrame({"path": [f"{n}.png" for n in range(30)], "split": ["train"] * 23 + ["validation"] * 7})
    files = {"train": shards("train", range(23)), "validation": shards("validation", range(23, 30))}
    return Prepared(folder, manifest, files, SIDE, 1, True)
