"""What every recipe gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from covidcxr_tf.train.run_dir import RunDir


@dataclass(frozen=True)
class Outcome:
    """A finished run.

    Attributes
    ----------
    run : RunDir
        Where everything lies.
    metrics : dict
        Content of ``metrics.json`` (of the test films where there are any, else of the validation films).
    """

    run: RunDir
    metrics: dict[str, Any]
