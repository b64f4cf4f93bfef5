"""The exported model answers as the trained one, and a bad film harms nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from covidcxr_tf.classifiers import LoadedModel
from covidcxr_tf.errors import RunFailed, UsageError
from covidcxr_tf.explain.film import explain_film, heat_on_film
from covidcxr_tf.export import golden, saved_model
from covidcxr_tf.export.graph import ServableGraph
from covidcxr_tf.export.saved_model import export_model
from covidcxr_tf.imaging.reading import read_image

Signatures = dict[str, Callable[..., dict[str, Any]]]


def ask(signature: Callable[..., Any], **inputs: Any) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in signature(**inputs).items()}


def check_film(loaded: LoadedModel, content: bytes, found: dict[str, np.ndarray], place: int) -> None:
    """Hold one film's answer against the model input and the probabilities of the Python path."""
    seen = loaded.film_input(read_image(content))
    expected = loaded.probabilities(seen.array[None].astype(np.float32) / np.float32(255))[0]
    np.testing.assert_allclose(found["probabilities"][place], expected, atol=1e-4)
    np.testing.assert_allclose(found["lung_box"][place], seen.box, atol=1e-6)
    assert found["status"][place] == seen.status
    assert found["lung_quality"][place] == np.float32(-1 if seen.quality is None else seen.quality["score"])


def check_heat(loaded: LoadedModel, content: bytes, found: dict[str, np.ndarray], place: int) -> None:
    """Hold one film's heat map, put back on the film, against `covidcxr explain`'s."""
    film = read_image(content)
    target = loaded.classes[found["class_index"][place]]
    expected = explain_film(loaded, film, target=target)
    box = tuple(found["lung_box"][place].astype(float))
    heat = heat_on_film(found["heatmap"][place], box, film.shape)
    np.testing.assert_allclose(heat, expected.heatmap, atol=1e-3)


def test_each_kind_of_film_as_predicted(served: Signatures, cropped_run: Path, film_files: dict[str, bytes]) -> None:
    loaded, files = LoadedModel.load(cropped_run), list(film_files.values())
    found = ask(served["serving_default"], image_bytes=tf.constant(files))
    for place, content in enumerate(files):
        check_film(loaded, content, found, place)
    assert set(found["status"]) == {0, 2}  # one film has no lungs
    assert found["classes"].tolist() == [[b"normal", b"covid19"]] * len(files)
    assert np.ptp(found["probabilities"][:, 1]) > 1e-3  # films differ: the answer is no constant
    scores = loaded.predict_with_columns([read_image(content) for content in files])[1]["ood_score"]
    np.testing.assert_allclose(found["ood_score"], scores, rtol=1e-3)
    assert np.ptp(scores) > 1e-3


def test_each_heat_map_as_explained(served: Signatures, cropped_run: Path, film_files: dict[str, bytes]) -> None:
    loaded, files = LoadedModel.load(cropped_run), list(film_files.values())
    index = np.array([-1, 0, 1, -1, 0, 1, -1], np.int32)
    found = ask(served["explain"], image_bytes=tf.constant(files), class_index=tf.constant(index))
    for place, content in enumerate(files):
        check_heat(loaded, content, found, place)
    asked = found["class_index"][index >= 0]
    assert asked.tolist() == index[index >= 0].tolist()
    decided = [loaded.classes.index(loaded.decide(row)) for row in found["probabilities"][index < 0]]
    assert found["class_index"][index < 0].tolist() == decided
    assert found["heatmap"].max() == 1


def test_a_class_that_is_none_gets_an_empty_heat_map(served: Signatures, film_files: dict[str, bytes]) -> None:
    files = [film_files["png8"]] * 3
    found = ask(served["explain"], image_bytes=tf.constant(files), class_index=tf.constant([2, -7, 1]))
    assert found["class_index"].tolist() == [-1, -1, 1]
    assert not found["heatmap"][:2].any()
    assert (found["probabilities"] > 0).all()


def test_bad_films_harm_no_neighbour(
    served: Signatures, film_files: dict[str, bytes], bad_files: dict[str, bytes]
) -> None:
    good = list(film_files.values())
    alone = ask(served["serving_default"], image_bytes=tf.constant(good))
    mixed, is_good = [], []
    for number, content in enumerate(bad_files.values()):
        mixed += [content, good[number % len(good)]]
        is_good += [False, True]
    found = ask(served["serving_default"], image_bytes=tf.constant(mixed))
    fine = np.array(is_good)
    assert dict(zip(bad_files, found["status"][~fine].tolist())) == dict.fromkeys(bad_files, 1)
    assert not found["probabilities"][~fine].any()
    assert not found["lung_box"][~fine].any()
    wanted = [number % len(good) for number in range(len(bad_files))]
    np.testing.assert_allclose(found["probabilities"][fine], alone["probabilities"][wanted], atol=1e-6)
    np.testing.assert_array_equal(found["status"][fine], alone["status"][wanted])
    heat = ask(served["explain"], image_bytes=tf.constant(mixed), class_index=tf.constant([-1] * len(mixed)))
    assert not heat["heatmap"][~fine].any()
    assert np.isfinite(heat["heatmap"]).all()
    assert heat["class_index"][~fine].tolist() == [-1] * len(bad_files)


def test_tensors_give_the_same_as_the_film(served: Signatures, cropped_run: Path, film_files: dict[str, bytes]) -> None:
    loaded = LoadedModel.load(cropped_run)
    square = golden._square(loaded, read_image(film_files["png16"]))
    images = np.stack([square, np.full_like(square, np.nan), square])[..., None]
    found = ask(served["tensors"], image=tf.constant(images))
    of_film = ask(served["serving_default"], image_bytes=tf.constant([film_files["png16"]]))
    np.testing.assert_allclose(found["probabilities"][[0, 2]], of_film["probabilities"][[0, 0]], atol=1e-6)
    assert found["status"].tolist() == [0, 1, 0]
    assert found["probabilities"][1].tolist() == [0, 0]


@pytest.mark.parametrize("kind", ["findings_run", "masked_run", "mirrored_run"])
def test_findings_masked_films_and_mirrored_networks(
    kind: str, request: pytest.FixtureRequest, film_files: dict[str, bytes]
) -> None:
    loaded = LoadedModel.load(request.getfixturevalue(kind))
    graph = ServableGraph(loaded)
    names = ("png8", "jpeg", "no_lungs")
    files = [film_files[name] for name in names]
    found = ask(graph.endpoints["serving_default"], image_bytes=tf.constant(files))
    heat = ask(graph.endpoints["explain"], image_bytes=tf.constant(files), class_index=tf.constant([-1, 0, 1]))
    for place, content in enumerate(files):
        check_film(loaded, content, found, place)
        check_heat(loaded, content, heat, place)
    sums = found["probabilities"].sum(axis=1)
    assert np.allclose(sums, 1) == (kind != "findings_run")
    requests = golden.golden_requests(loaded, 2)
    golden.check_equal(
        golden.python_answers(loaded, requests), golden.graph_answers(graph.endpoints, requests), "the model"
    )


def test_what_lies_in_the_version_folder(exported: Path, cropped_run: Path) -> None:
    folder = exported / "tiny" / "1"
    extra = {path.name for path in (folder / "assets.extra").iterdir()}
    assert extra == {"card.json", "golden_io.npz", "tf_serving_warmup_requests"}
    card = json.loads((folder / "assets.extra" / "card.json").read_text())
    assert (card["name"], card["version"], card["classes"]) == ("tiny", 1, ["normal", "covid19"])
    assert (card["input_size"], card["channels"], card["threshold"]) == (64, 3, 0.4)
    assert card["model_sha256"] == LoadedModel.load(cropped_run).digest
    assert card["limits"]["max_pixels"] == 40_000_000
    assert set(card["signatures"]) == {"serving_default", "tensors", "explain"}
    assert card["signatures"]["explain"]["outputs"]["heatmap"]["shape"] == [None, 64, 64]
    assert card["agreement"]["largest_difference"]["probabilities"] <= 1e-4
    assert [path.name for path in (exported / "tiny").iterdir()] == ["1"]
    assert (exported / "models.config").is_file()


def test_saved_model_cli_shows_and_runs_it(
    exported: Path, film_files: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tensorflow.python.tools import saved_model_cli

    def tool(command: str, *more: str) -> str:
        given = ["--dir", str(exported / "tiny" / "1"), "--tag_set", "serve", "--signature_def", "serving_default"]
        chosen = saved_model_cli.create_parser().parse_args([command, *given, *more])
        chosen.func()
        return capsys.readouterr().out

    film = tmp_path / "films.npy"
    np.save(film, np.array([film_files["png8"].ljust(20_000)]))  # NumPy's strings lose zeros at their end
    shown = tool("show")
    assert "image_bytes" in shown
    assert "shape: (-1, 2)" in shown
    ran = tool("run", "--inputs", f"image_bytes={film}")
    assert "Result for output key probabilities" in ran
    assert "[0]" in ran.partition("output key status:")[2]


def test_warm_up_requests_run(exported: Path, served: Signatures) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    path = exported / "tiny" / "1" / "assets.extra" / "tf_serving_warmup_requests"
    asked = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        found = ask(served[request.model_spec.signature_name], **inputs)
        assert found["status"].tolist() == [0]
        assert request.model_spec.name == "tiny"
        asked.append(request.model_spec.signature_name)
    assert asked == ["serving_default", "tensors", "explain"]


def test_a_version_that_is_there_is_refused(exported: Path, cropped_run: Path) -> None:
    before = sorted(exported.rglob("*"))
    with pytest.raises(UsageError, match="this version is there already"):
        export_model(cropped_run, exported, version=1)
    assert sorted(exported.rglob("*")) == before


def test_golden_answers_that_differ_publish_nothing(
    covidcxr: Callable[..., Any], cropped_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = golden.write_golden

    def tampered(path: Path, requests: Any, python: dict[str, Any], graph: dict[str, Any]) -> None:
        key = "serving_default/probabilities"
        written(path, requests, python | {key: python[key] + 2e-4}, graph)

    monkeypatch.setattr(golden, "write_golden", tampered)
    done = covidcxr("export", cropped_run, tmp_path / "served")
    assert done.code == RunFailed.exit_code == 5
    assert "probabilities differ by 0.0002" in done.err
    assert list(tmp_path.iterdir()) == []


def answers(probability: float, status: int = 0) -> dict[str, np.ndarray]:
    """Return answers on one film, all but two outputs the same."""
    found = {"probabilities": np.array([[probability, 1 - probability]]), "status": np.array([status])}
    found |= {"heatmap": np.zeros((1, 4, 4)), "lung_box": np.zeros((1, 4)), "lung_quality": np.zeros(1)}
    return {f"serving_default/{name}": value for name, value in found.items()}


@pytest.mark.parametrize(
    ("variant", "fine", "too_far"),
    [("float32", answers(0.50005), answers(0.5002)), ("bfloat16", answers(0.515), answers(0.525))],
)
def test_a_graph_that_is_not_the_model_is_refused(variant: Any, fine: Any, too_far: Any) -> None:
    agreement = saved_model._agreement(variant, answers(0.5), fine)
    assert agreement["films"] == agreement["same_most_probable_class"] == 1
    for wrong in (too_far, answers(0.5, status=2), answers(float("nan"))):
        with pytest.raises(RunFailed):
            saved_model._agreement(variant, answers(0.5), wrong)


def test_bfloat16_says_how_far_it_is(cropped_run: Path, tmp_path: Path) -> None:
    found = export_model(cropped_run, tmp_path, name="half", version=7, variant="bfloat16")
    assert found.folder == tmp_path / "half" / "7"
    largest = found.card["agreement"]["largest_difference"]["probabilities"]
    assert 1e-6 < largest <= saved_model.BFLOAT16_LIMIT
    assert found.card["agreement"]["films"] == 13


def test_models_that_are_not_one_graph_are_refused(cropped_run: Path, make_model: Any, tmp_path: Path) -> None:
    (tmp_path / "ensemble").mkdir()
    (tmp_path / "ensemble" / "ensemble.json").write_text(json.dumps({"members": [str(cropped_run)]}))
    with pytest.raises(UsageError, match="holds several models"):
        export_model(tmp_path / "ensemble", tmp_path / "served")
    facts = {"classes": ["normal", "covid19"], "patches": {"size": 32, "votes": 3, "seed": 0}}
    with pytest.raises(UsageError, match="sees patches"):
        export_model(make_model("base", {}, facts, filters=2), tmp_path / "served")
    with pytest.raises(UsageError, match="name"):
        export_model(cropped_run, tmp_path / "served", name="../elsewhere")
    assert not (tmp_path / "served").exists()
