"""One film, five ways: the training pipeline, `predict`, `explain`, the SavedModel and the server say the same."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from covidcxr_tf.classifiers import LoadedModel
from covidcxr_tf.data.manifest import load_manifest
from covidcxr_tf.explain.film import heat_on_film
from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.pipeline.dataset import Batches
from covidcxr_tf.prepare import prepare
from covidcxr_tf.serving.http import build_app
from covidcxr_tf.serving.limits import Limits
from covidcxr_tf.serving.versions import Versions
from covidcxr_tf.serving.work import Worker

KINDS = {"png8": "png", "png16": "png", "jpeg": "jpg", "bmp": "bmp"}
Served = dict[str, Callable[..., dict[str, Any]]]


@pytest.fixture(scope="module")
def films(film_files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the manifest of one film of each kind that every way can read."""
    folder = tmp_path_factory.mktemp("five")
    rows = []
    for number, (kind, suffix) in enumerate(KINDS.items()):
        (folder / f"{kind}.{suffix}").write_bytes(film_files[kind])
        label = ("normal", "covid19")[number % 2]
        rows.append({"path": f"{kind}.{suffix}", "label": label, "patient_id": f"p{number}", "split": "train"})
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def predicted(films: Path, cropped_run: Path) -> pd.DataFrame:
    """Return what `covidcxr predict` writes, by path."""
    from covidcxr_tf.cli.main import main

    out = films.parent / "predictions.csv"
    with pytest.raises(SystemExit) as stop:
        main(["predict", str(films), "--model", str(cropped_run), "--out", str(out)])
    assert not stop.value.code
    return pd.read_csv(out).set_index("path")[["prob_normal", "prob_covid19"]]


@pytest.fixture(scope="module")
def post(exported: Path) -> Iterator[Callable[[dict[str, Any]], dict[str, Any]]]:
    """Return a function: a predict request -> the answer of the local server over REST."""
    from starlette.testclient import TestClient

    versions = Versions(exported / "tiny")
    versions.poll()
    worker = Worker(versions)
    with TestClient(build_app(worker, versions, Limits())) as client:

        def ask(request: dict[str, Any]) -> dict[str, Any]:
            answer = client.post("/v1/models/tiny:predict", content=json.dumps(request))
            assert answer.status_code == 200, answer.text
            return answer.json()

        yield ask
    worker.close()
    versions.stop()


def test_the_training_pipeline(films: Path, cropped_run: Path, predicted: pd.DataFrame) -> None:
    loaded, manifest = LoadedModel.load(cropped_run), load_manifest(films)
    assert loaded.lungs is not None
    prepared = prepare(manifest, loaded.image, lungs=loaded.lungs.probabilities, lungs_key=loaded.lungs.sha256)
    batches = Batches(prepared, ("train",), np.zeros(len(manifest), np.int32), None, 4)
    for batch in batches.plain():
        rows = manifest.iloc[batch["row"].numpy()]["path"]
        found = loaded.probabilities(batch["image"].numpy())
        np.testing.assert_allclose(found, predicted.loc[rows], atol=1e-4)


def test_explain(films: Path, cropped_run: Path, predicted: pd.DataFrame, covidcxr: Callable, tmp_path: Path) -> None:
    done = covidcxr("explain", films, "--model", cropped_run, "--out", tmp_path)
    assert done.code == 0, done.err
    for path, row in predicted.iterrows():
        told = json.loads((tmp_path / f"{Path(str(path)).stem}_gradcam.json").read_text())["probabilities"]
        np.testing.assert_allclose([told["normal"], told["covid19"]], row, atol=1e-4)


def test_the_saved_model(films: Path, served: Served, predicted: pd.DataFrame) -> None:
    contents = [(films.parent / str(path)).read_bytes() for path in predicted.index]
    found = served["serving_default"](image_bytes=tf.constant(contents))["probabilities"].numpy()
    np.testing.assert_allclose(found, predicted, atol=1e-4)


def test_the_server(films: Path, predicted: pd.DataFrame, post: Callable[..., Any]) -> None:
    sent = [base64.b64encode((films.parent / str(path)).read_bytes()).decode() for path in predicted.index]
    found = [one["probabilities"] for one in post({"instances": [{"b64": one} for one in sent]})["predictions"]]
    np.testing.assert_allclose(found, predicted, atol=1e-4)


def test_heat_maps_of_explain_saved_model_and_server(
    films: Path, cropped_run: Path, served: Served, post: Callable[..., Any], covidcxr: Callable, tmp_path: Path
) -> None:
    covidcxr("explain", films, "--model", cropped_run, "--out", tmp_path, "--target", "covid19")
    for kind, suffix in KINDS.items():
        content = (films.parent / f"{kind}.{suffix}").read_bytes()
        expected = np.load(tmp_path / f"{kind}_gradcam.npy")
        shape = read_image(content).shape
        here = served["explain"](image_bytes=tf.constant([content]), class_index=tf.constant([1]))
        inputs = {"image_bytes": [{"b64": base64.b64encode(content).decode()}], "class_index": [1]}
        there = post({"signature_name": "explain", "inputs": inputs})["outputs"]
        for answer in ({name: value.numpy() for name, value in here.items()}, there):
            box = tuple(float(edge) for edge in np.asarray(answer["lung_box"])[0])
            heat = heat_on_film(np.asarray(answer["heatmap"], np.float32)[0], box, shape)
            np.testing.assert_allclose(heat, expected, atol=1e-3)
