"""The scripts of the hostile corpus as modules, and one process that reads for all tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="session")
def hostile() -> Iterator[ModuleType]:
    """Return scripts/hostile.py."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        import hostile

        yield hostile
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="session")
def reader(hostile: ModuleType) -> Iterator[Any]:
    """Return the process that reads; it lives on from test to test."""
    with hostile.Reader() as process:
        yield process
