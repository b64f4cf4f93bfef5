"""Facts about an installation, for people who ask why something does not work."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from covidcxr_tf import __version__
from covidcxr_tf.models.files import model_digest
from covidcxr_tf.models.shipped import shipped_models
from covidcxr_tf.prepare import cache_folder
from covidcxr_tf.train.run_dir import PACKAGES, package_version

#: module -> what its absence costs and how to get it.
OPTIONAL = {
    "pylibjpeg": "JPEG 2000 and other compressed DICOM: pip install 'covidcxr_tf[dicom]'",
    "pyarrow": "Parquet manifests: pip install 'covidcxr_tf[parquet]'",
    "torch": "converting PyTorch weights: pip install torch",
}
SHIPPED = ("lung_unet", "covid_classifier", "covid_cxnet")


def examine() -> dict[str, Any]:
    """Return versions, devices, memory (GB, 10^9 bytes), cache, shipped models, and what is missing."""
    import tensorflow as tf

    models = {
        name: {"path": str(path), "sha256": model_digest(path)} for name, path in sorted(shipped_models().items())
    }
    versions = {name: package_version(name) for name in PACKAGES}
    missing = [f"package {name}: run `pip install covidcxr_tf` again" for name, v in versions.items() if v is None]
    missing += [cost for module, cost in OPTIONAL.items() if importlib.util.find_spec(module) is None]
    missing += [f"shipped model {name}: set COVIDCXR_MODELS to its folder" for name in SHIPPED if name not in models]
    devices = [device.name for device in tf.config.list_logical_devices()]
    if not any("GPU" in device for device in devices):
        missing.append("GPU: none visible; training runs on the CPU (`pip install 'covidcxr_tf[gpu]'` for CUDA)")
    cache = cache_folder()
    return {
        "schema_version": 1,
        "covidcxr_tf": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": versions,
        "devices": devices,
        "cores": os.cpu_count(),
        "memory_gb": _memory_gb(),
        "cache": str(cache),
        "cache_free_gb": round(shutil.disk_usage(_existing(cache)).free / 1e9, 1),
        "models": models,
        "missing": missing,
    }


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError, AttributeError):  # not a POSIX system
        return None


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
