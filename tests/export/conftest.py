"""Tiny untrained models of each kind that is exported, films, and one export that several tests look at."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

Maker = Callable[..., Path]
SIDE = 64


def encoded(levels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    """Return levels uint8 or uint16 as a file."""
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, kind, **options)
    return buffer.getvalue()


def phantom(seed: int, rows: int = 120, columns: int = 104) -> np.ndarray:
    """Return two dark lungs on a bright body with grain, float32 (rows, columns) in [0, 1]."""
    random = np.random.default_rng(seed)
    film = np.full((rows, columns), 0.8, np.float32)
    for side in (0.3, 0.7):
        centre = (int(columns * side), int(rows * random.uniform(0.45, 0.55)))
        cv2.ellipse(film, centre, (columns // 7, rows // 3), 0, 0, 360, 0.15, -1)
    return np.clip(film + random.normal(0, 0.04, film.shape), 0, 1).astype(np.float32)


@pytest.fixture(scope="session")
def film_files() -> dict[str, bytes]:
    """Return one readable film of each kind and size."""
    film = [phantom(seed, 110 + 7 * seed, 100 + 5 * seed) for seed in range(7)]
    eight = [np.rint(one * 255).astype(np.uint8) for one in film]
    colour = np.stack([eight[5], eight[5] // 2, eight[5] // 3], axis=-1)
    flat = np.full((50, 60), 255, np.uint8)  # nothing dark: no lungs
    flat[3, 3] = 250
    return {
        "png8": encoded(eight[0]),
        "png16": encoded(np.rint(film[1] * 65535).astype(np.uint16)),
        "jpeg": encoded(eight[2], "JPEG", quality=85),
        "bmp": encoded(eight[3], "BMP"),
        "gif": encoded(eight[4], "GIF"),
        "colour_jpeg": encoded(colour, "JPEG", quality=85),
        "no_lungs": encoded(flat),
    }


@pytest.fixture(scope="session")
def bad_files(film_files: dict[str, bytes]) -> dict[str, bytes]:
    """Return what is no film that can be read, each in its own way."""
    png, jpeg, bmp, gif = (film_files[kind] for kind in ("png8", "jpeg", "bmp", "gif"))
    frame = jpeg.index(b"\xff\xc0") + 5
    return {
        "empty": b"",
        "text": b"no picture at all",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="90" height="90"/>',
        "webp": b"RIFF\x24\x00\x00\x00WEBPVP8 ",
        "png_cut": png[: len(png) // 2],
        "png_magic_alone": png[:8],
        "png_sum_wrong": png[:60] + bytes([png[60] ^ 255]) + png[61:],
        "png_huge": png[:16] + (30000).to_bytes(4, "big") * 2 + png[24:],
        "jpeg_cut": jpeg[: len(jpeg) // 2],
        "jpeg_magic_alone": jpeg[:3],
        "jpeg_huge": jpeg[:frame] + (30000).to_bytes(2, "big") * 2 + jpeg[frame + 4 :],
        "bmp_cut": bmp[: len(bmp) // 2],
        "bmp_huge": bmp[:18] + (30000).to_bytes(4, "little") * 2 + bmp[26:],
        "bmp_most_negative": bmp[:22] + (1 << 31).to_bytes(4, "little") + bmp[26:],
        "gif_cut": gif[: len(gif) // 2],
        "gif_huge": gif[:6] + b"\xff\xff\xff\xff" + gif[10:],
        "small": encoded(np.arange(31 * 40, dtype=np.uint16).reshape(31, 40)),
        "one_grey": encoded(np.full((64, 64), 7, np.uint8)),
    }


@pytest.fixture(scope="session")
def make_model(lung_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """Return a function that writes a run folder with an untrained model, its weights and statistics drawn by seed."""
    import keras

    from covidcxr_tf.models import build
    from covidcxr_tf.models.files import model_digest, save_model

    def shake(model: keras.Model) -> None:
        random = np.random.default_rng(3)
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                ranges = ((0.5, 1.5), (-0.3, 0.3), (-0.2, 0.2), (0.5, 2.0))
                layer.set_weights(
                    [random.uniform(*span, w.shape) for span, w in zip(ranges, layer.get_weights(), strict=True)]
                )

    def write(arch: str, image: dict[str, Any], facts: dict[str, Any], **options: Any) -> Path:
        folder = tmp_path_factory.mktemp(arch)
        settings = {"size": SIDE, "tiles": 4, "channels": ["clahe"], "lungs": "none", **image}
        shape = (SIDE, SIDE, len(settings["channels"]))
        model = build(arch, len(facts["classes"]), input_shape=shape, seed=1, **options)
        shake(model)
        common = {"name": arch, "arch": arch, "task": "classification", "image": settings}
        if settings["lungs"] != "none":
            lungs = Path(shutil.copy(lung_models / "lung_unet" / "1" / "model.keras", folder / "lung_model.keras"))
            common["lung_model"] = {"name": "lung_unet", "sha256": model_digest(lungs)}
        save_model(model, folder / "model.keras", {**common, **facts})
        return folder

    return write


def a_gate(features: int, layer: str = "relu") -> dict[str, Any]:
    """Return the gate of made-up features that lie about 1, fit to be stored."""
    from covidcxr_tf.gate import fit_gate

    random = np.random.default_rng(4)
    made = random.normal(1, 0.5, (80, features)) @ random.normal(0, 1, (features, features))
    return fit_gate(made[:50], made[50:], layer).as_facts()


@pytest.fixture(scope="session")
def cropped_run(make_model: Maker) -> Path:
    """Return a small COVID-CXNet: lungs found and cropped to, three channels, normalisation, a cut-off."""
    facts = {"classes": ["normal", "covid19"], "positive": "covid19", "threshold": 0.4, "name": "tiny"}
    return make_model(
        "chexnet",
        {"channels": ["beasf", "clahe", "raw"], "lungs": "crop"},
        {**facts, "temperature": 1.7, "gate": a_gate(16)},
        blocks=(2, 2),
        growth=4,
        stem=8,
        normalise=((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    )


@pytest.fixture(scope="session")
def findings_run(make_model: Maker) -> Path:
    """Return a model of three findings on whole films."""
    classes = ["Effusion", "Mass", "Nodule"]
    return make_model("base", {"channels": ["equalize", "raw"]}, {"classes": classes, "task": "multilabel"}, filters=6)


@pytest.fixture(scope="session")
def masked_run(make_model: Maker) -> Path:
    """Return a model with one logit on films that are black outside the lungs, matched to a reference histogram."""
    histogram = np.bincount(np.arange(4000) % 251, minlength=256).tolist()
    facts = {"classes": ["normal", "covid19"], "positive": "covid19", "reference_histogram": histogram}
    return make_model("base", {"channels": ["universal"], "lungs": "mask_whole"}, facts, filters=6, compat="paper")


@pytest.fixture(scope="session")
def mirrored_run(make_model: Maker) -> Path:
    """Return an EfficientNet-Lite0 of few blocks that sees the film and its mirror image, with a gate."""
    facts = {"classes": ["normal", "pneumonia", "covid19"], "positive": "covid19", "gate": a_gate(64, "mean_of_sides")}
    few = {"blocks": (1, 1), "width": 0.05, "low_pass": 2, "mirrored": True}
    return make_model("efficientnet-lite0", {"lungs": "crop", "lung_edges": "mass"}, facts, **few)


@pytest.fixture(scope="session")
def exported(cropped_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return OUT with version 1 of `cropped_run` as ``tiny``; read only."""
    from covidcxr_tf.export.saved_model import export_model

    out = tmp_path_factory.mktemp("served")
    export_model(cropped_run, out)
    return out


@pytest.fixture(scope="session")
def served(exported: Path) -> dict[str, Callable[..., dict[str, Any]]]:
    """Return the signatures of the exported model, loaded from disk."""
    import tensorflow as tf

    return dict(tf.saved_model.load(str(exported / "tiny" / "1"), tags=["serve"]).signatures)
