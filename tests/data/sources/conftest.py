"""Tiny trees that imitate published layouts: pictures of a few pixels, drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Draw = Callable[..., Path]


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Return a function that writes a grey picture (rows, columns) of noise, or of given pixels, below tmp_path."""
    rng = np.random.default_rng(0)

    def write(name: str, size: tuple[int, int] = (6, 8), pixels: np.ndarray | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        values = rng.integers(0, 256, size, dtype=np.uint8) if pixels is None else pixels
        Image.fromarray(values).save(path)
        return path

    return write


@pytest.fixture
def note(tmp_path: Path) -> Draw:
    """Return a function that writes a text file below tmp_path."""

    def write(name: str, text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding=encoding)
        return path

    return write
