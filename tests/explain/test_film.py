"""Heat in the film's own pixels: where it lies, its share inside the lungs, and what is said beside it."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidcxr_tf.catalog import EXPLAINERS
from covidcxr_tf.errors import UsageError
from covidcxr_tf.explain.film import explain_film, heat_layer, heat_on_film
from covidcxr_tf.explain.lime import LimeResult
from covidcxr_tf.models import base

# rows 20..60 of 80, columns 40..120 of 160
BOX = (0.25, 0.25, 0.75, 0.75)
# Those for models of whole films.
METHODS = [name for name in EXPLAINERS if name != "patch-gradcam"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_map_of_the_films_size(method: Any, stand_in: Any, film: np.ndarray) -> None:
    found = explain_film(stand_in(box=BOX), film, method, samples=60)
    assert found.heatmap.shape == film.shape and found.heatmap.dtype == np.float32
    assert found.heatmap.min() >= 0 and found.heatmap.max() == pytest.approx(1.0)
    outside = np.ones(film.shape, dtype=bool)
    outside[20:60, 40:120] = False
    assert not found.heatmap[outside].any()
    assert (found.method, found.target_class, found.lung_box) == (method, found.predicted, BOX)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("box", [(0.0, 0.0, 1.0, 1.0), BOX])
def test_heat_lies_on_the_bright_square(method: Any, box: Any, stand_in: Any, film: np.ndarray) -> None:
    heat = explain_film(stand_in(box=box), film, method, "covid19", samples=200).heatmap
    seen, near = np.zeros((2, *film.shape), dtype=bool)
    seen[int(box[0] * 80) : int(box[2] * 80), int(box[1] * 160) : int(box[3] * 160)] = True
    near[14:46, 30:90] = True  # a cell around the square
    assert heat[20:40, 40:80].mean() > 6 * heat[seen & ~near].mean()
    if "cam" in method:
        assert heat[24:36, 46:74].min() > 0.4 and heat[seen & ~near].max() < 0.2


def test_probabilities_and_prediction_are_the_models_own(stand_in: Any, film: np.ndarray) -> None:
    loaded = stand_in()
    expected = loaded.probabilities(loaded.film_input(film).array[None].astype(np.float32) / 255)[0]
    found = explain_film(loaded, film)
    assert found.probabilities == dict(zip(loaded.classes, map(float, expected)))
    assert found.predicted == loaded.classes[int(expected.argmax())]


def test_target_is_looked_into_instead_of_the_predicted_class(stand_in: Any, film: np.ndarray) -> None:
    loaded = stand_in()
    assert explain_film(loaded, film).predicted == "normal"  # a dark film
    found = explain_film(loaded, film, target="covid19")
    assert (found.predicted, found.target_class) == ("normal", "covid19")
    assert found.heatmap[30, 60] > 0.9
    assert not explain_film(loaded, film, target="normal").heatmap.any()  # nothing bright speaks for 'normal'


def test_share_of_heat_in_the_lungs_by_hand(stand_in: Any, film: np.ndarray) -> None:
    """Region of 2 x 4 cells, each 40 x 40 pixels of the film; the second cell of the first row is lung."""
    region = np.array([[0, 1, 0, 0], [0, 0, 0, 0]], dtype=np.uint8)
    found = explain_film(stand_in(region=region), film, target="covid19")
    inside = found.heatmap[:40, 40:80].sum(dtype=np.float64) / found.heatmap.sum(dtype=np.float64)
    assert found.heat_in_lungs == pytest.approx(inside, rel=1e-6) and 0.3 < inside < 0.9
    assert found.lung_region is not None and found.lung_region.sum() == 40 * 40
    assert found.lung_mask_quality == {"verdict": "good", "score": 0.9}
    assert found.heat_in_lungs_why == ""


@pytest.mark.parametrize(
    ("region", "target", "why"),
    [
        (None, "covid19", "no lung mask"),
        (np.zeros((4, 4), dtype=np.uint8), "covid19", "no lungs were found"),
        # 8 of 441 cells, 1.8 %: the classifier saw the whole film
        (np.pad(np.ones((2, 4), dtype=np.uint8), ((8, 11), (8, 9))), "covid19", "no lungs were found"),
        (np.ones((4, 4), dtype=np.uint8), "normal", "no heat"),
    ],
)
def test_share_that_is_not_defined_says_why(
    region: np.ndarray | None, target: str, why: str, stand_in: Any, film: np.ndarray
) -> None:
    found = explain_film(stand_in(region=region), film, target=target)
    assert found.heat_in_lungs is None and why in found.heat_in_lungs_why


def test_all_lung_holds_all_heat(stand_in: Any, film: np.ndarray) -> None:
    found = explain_film(stand_in(region=np.ones((4, 4), dtype=np.uint8)), film, target="covid19")
    assert found.heat_in_lungs == pytest.approx(1.0)


def test_lungs_that_were_not_found_are_told(stand_in: Any, film: np.ndarray) -> None:
    assert explain_film(stand_in(), film).lungs_found
    assert not explain_film(stand_in(region=np.zeros((4, 4), dtype=np.uint8), status=2), film).lungs_found


def test_lime_keeps_every_weight_and_its_sign(stand_in: Any, film: np.ndarray) -> None:
    found = explain_film(stand_in(box=BOX), film, "lime", "covid19", seed=3, samples=150, features=4)
    superpixels = found.superpixels
    assert superpixels is not None and len(superpixels.top) == 4 and superpixels.samples == 150
    assert set(np.unique(superpixels.segments)) == {-1, *range(len(superpixels.weights))}
    signed = superpixels.signed
    assert not signed[:20].any() and signed[30, 60] == np.float32(superpixels.weights[superpixels.segments[30, 60]])
    np.testing.assert_allclose(found.heatmap, np.maximum(signed, 0) / signed.max(), atol=1e-6)
    again = explain_film(stand_in(box=BOX), film, "lime", "covid19", seed=3, samples=150, features=4)
    np.testing.assert_array_equal(again.heatmap, found.heatmap)


def test_superpixels_lie_where_the_network_saw_them(
    stand_in: Any, film: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four super-pixels, a quarter of the box each; the box is rows 20-59, columns 40-119."""
    segments = np.kron(np.array([[0, 1], [2, 3]]), np.ones((16, 16), dtype=int)).astype(np.int32)
    weights = np.array([0.5, -1.0, 0.0, 0.25])
    planted = LimeResult(weights[segments].astype(np.float32), segments, weights, 0.1, 0.9, 77, 2)
    monkeypatch.setattr("covidcxr_tf.explain.lime.lime", lambda *arguments, **options: planted)
    found = explain_film(stand_in(box=BOX), film, "lime")
    expected = np.zeros(film.shape, dtype=np.float32)
    expected[20:40, 40:80], expected[20:40, 80:120], expected[40:60, 80:120] = 0.5, -1.0, 0.25
    assert found.superpixels is not None
    np.testing.assert_array_equal(found.superpixels.signed, expected)
    np.testing.assert_array_equal(found.heatmap, np.maximum(expected, 0) / 0.5)
    assert (found.superpixels.top, found.superpixels.fit, found.superpixels.samples) == ((1, 0), 0.9, 77)


def test_superpixels_are_found_in_the_bare_film(
    stand_in: Any, film: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    def spy(*arguments: Any, **options: Any) -> None:
        seen.update(options)
        raise RuntimeError("enough")

    monkeypatch.setattr("covidcxr_tf.explain.lime.lime", spy)
    with pytest.raises(RuntimeError, match="enough"):
        explain_film(stand_in(), film, "lime")
    assert seen["guide"] == 1  # channels are clahe, raw


def test_multilabel_findings_are_no_rivals(stand_in: Any, film: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def spy(model: Any, image: Any, index: int, layer: Any, *, independent: bool) -> np.ndarray:
        seen["independent"] = independent
        return np.ones((32, 32), dtype=np.float32)

    monkeypatch.setattr("covidcxr_tf.explain.gradcam.scorecam", spy)
    for task in ("classification", "multilabel"):
        loaded = stand_in()
        loaded.facts["task"] = task
        explain_film(loaded, film, "scorecam")
        assert seen["independent"] == (task == "multilabel")


def test_model_is_named_by_its_content(stand_in: Any, film: np.ndarray) -> None:
    expected = hashlib.sha256(b"0123456789").hexdigest()
    assert explain_film(stand_in(), film).model == {"name": "stand_in", "sha256": expected, "file": "model.keras"}


def test_unknown_method_and_class(stand_in: Any, film: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"'gradcm' is no explainer.*did you mean 'gradcam'"):
        explain_film(stand_in(), film, "gradcm")
    with pytest.raises(UsageError, match=r"'covid' is no class of the model stand_in.*normal, covid19.*'covid19'"):
        explain_film(stand_in(), film, target="covid")


def test_layer_is_the_one_that_the_architectures_file_names(stand_in: Any) -> None:
    loaded: Any = stand_in()
    assert heat_layer(loaded) is None  # arch unknown
    loaded.arch = "base"
    assert heat_layer(loaded) is None  # the stand-in has no such layer
    inputs = keras.Input((8, 8, 1))
    loaded = SimpleNamespace(arch="base", model=keras.Model(inputs, keras.layers.ReLU(name=base.CAM_LAYER)(inputs)))
    assert heat_layer(loaded) == base.CAM_LAYER


def test_corners_of_the_map_fall_on_the_corners_of_the_box() -> None:
    heat = np.zeros((4, 4), dtype=np.float32)
    heat[0, 3] = 0.5  # right upper quarter of a quarter; scaling makes it 1
    placed = heat_on_film(heat, (0.5, 0.0, 1.0, 0.5), (80, 160))
    assert placed[44, 74] == 1.0 and np.argwhere(placed > 0.5).min(axis=0).tolist() == [40, 60]
    assert not placed[:40].any() and not placed[:, 80:].any()


def test_no_heat_is_no_nan() -> None:
    assert not heat_on_film(np.zeros((4, 4)), (0.0, 0.0, 1.0, 1.0), (50, 30)).any()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.tuples(*[st.floats(0, 1)] * 4),
    st.integers(2, 40),
)
def test_any_box_on_any_film(rows: int, columns: int, edges: tuple[float, float, float, float], size: int) -> None:
    top, bottom = sorted((edges[0], edges[1]))
    left, right = sorted((edges[2], edges[3]))
    heat = np.random.default_rng(size).random((size, size)).astype(np.float32)
    placed = heat_on_film(heat, (top, left, bottom, right), (rows, columns))
    assert placed.shape == (rows, columns) and np.isfinite(placed).all()
    assert placed.min() >= 0 and placed.max() == pytest.approx(1.0)
    inside = np.argwhere(placed > 0)
    assert (inside >= np.floor([top * rows - 1, left * columns - 1])).all()
    assert (inside <= np.ceil([bottom * rows, right * columns])).all()


def test_findings_are_called_in_any_number_and_the_most_probable_is_looked_into(
    stand_in: Any, film: np.ndarray
) -> None:
    loaded = stand_in()
    loaded.facts["task"], loaded.decide = "multilabel", lambda values: "No Finding"
    found = explain_film(loaded, film)
    assert (found.predicted, found.target_class) == ("No Finding", "normal")
    assert explain_film(loaded, film, target="covid19").target_class == "covid19"


def test_methods_for_patches_and_for_whole_films_are_told_apart(stand_in: Any, film: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"stand_in sees whole films.*--method gradcam"):
        explain_film(stand_in(), film, "patch-gradcam")


def test_warnings_name_missing_lungs_and_films_unlike_the_training_films(stand_in: Any, film: np.ndarray) -> None:
    model = stand_in()
    assert explain_film(model, film).warnings == []
    model.ood = np.array([2.5])
    far = explain_film(model, film)
    assert far.ood_score == 2.5
    assert far.warnings == ["unlike the training films (score 2.50, limit 1): perhaps no chest film"]
    model.ood = np.array([0.99])
    assert explain_film(model, film).warnings == []
    lost = explain_film(stand_in(status=2), film)
    assert lost.warnings == ["no lungs were found: the whole film was used"]
