"""One TensorFlow for all tests, two threads, quiet; fixtures that several rooms share."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests never read or fill the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["COVIDCXR_CACHE"] = str(folder)
    return folder
