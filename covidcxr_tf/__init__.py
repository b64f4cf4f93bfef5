"""covidcxr_tf: chest X-rays of the COVID-19 literature, in TensorFlow and Keras.

For research and teaching. Nothing here may be used for diagnosis.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# public name -> "module" or "module:attribute"; resolved on first use, so that `import covidcxr_tf` is instant.
# A function may not bear the name of a submodule: whoever imports the submodule would put it in its place.
_PUBLIC = {
    "models": "covidcxr_tf.models",
    "load": "covidcxr_tf.run:load",
    "predict": "covidcxr_tf.predict",
    "explain": "covidcxr_tf.explain",
    "segment": "covidcxr_tf.run:segment",
    "evaluate": "covidcxr_tf.evaluate",
    "read_image": "covidcxr_tf.imaging.reading:read_image",
}

__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604 (keys are strings; ruff cannot see it)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'covidcxr_tf' has no attribute '{name}'")
    module_name, _, attribute = _PUBLIC[name].partition(":")
    module = importlib.import_module(module_name)
    return getattr(module, attribute) if attribute else module


def __dir__() -> list[str]:
    return sorted(__all__)
