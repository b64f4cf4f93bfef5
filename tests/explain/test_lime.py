"""LIME against the library's own way of making films, an own ridge regression, and planted models."""

from __future__ import annotations

import numpy as np
import pytest
from lime.lime_image import LimeImageExplainer

from covidcxr_tf.explain.lime import Predict, _BatchExplainer, find_superpixels, hidden_copy, lime


def film(channels: int = 3, size: int = 48, seed: int = 0) -> np.ndarray:
    """Blobs, so that super-pixels have something to follow, and grain, so that their mean colour hides something."""
    rng = np.random.default_rng(seed)
    blobs = np.kron(0.6 * rng.random((6, 6, channels)), np.ones((size // 6, size // 6, 1)))
    return (blobs + 0.4 * rng.random(blobs.shape)).astype(np.float32)


def mean_model(batch: np.ndarray) -> np.ndarray:
    """P(1) rises with the grain in the left upper quarter, falls with that in the right lower one."""
    half = batch.shape[1] // 2
    grain = np.abs(np.diff(batch, axis=2)).mean(axis=3)
    value = 20 * grain[:, :half, :half].mean(axis=(1, 2)) - 20 * grain[:, half:, half:].mean(axis=(1, 2))
    chance = 1 / (1 + np.exp(-value.astype(np.float64)))
    return np.stack([1 - chance, chance], axis=1)


def squares(size: int = 48, side: int = 8) -> np.ndarray:
    count = size // side
    return np.kron(np.arange(count * count).reshape(count, count), np.ones((side, side), dtype=int)).astype(np.int32)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_hidden_superpixels_have_their_mean_colour(channels: int) -> None:
    image = np.random.default_rng(1).random((48, 48, channels)).astype(np.float32)
    segments, hidden = squares(), hidden_copy(image, squares())
    for number in (0, 7, 35):
        inside = segments == number
        np.testing.assert_allclose(hidden[inside], np.tile(image[inside].mean(axis=0), (64, 1)), atol=1e-6)


def test_samples_are_the_librarys_own() -> None:
    """Same seed, same segments: our batches hold the very films that the library would have made, in its order."""
    image = np.random.default_rng(2).random((48, 48, 3)).astype(np.float32)
    segments = squares()
    seen: dict[str, list[np.ndarray]] = {"ours": [], "library": []}

    def spy(key: str) -> Predict:
        def predict(batch: np.ndarray) -> np.ndarray:
            seen[key].append(batch.copy())
            return mean_model(batch)

        return predict

    ours = _BatchExplainer(image, segments, 11, None)
    shown, chances = ours.data_labels(None, None, segments, spy("ours"), 23, batch_size=10)
    library = LimeImageExplainer(random_state=np.random.RandomState(11))
    expected, expected_chances = library.data_labels(
        image, hidden_copy(image, segments), segments, spy("library"), 23, batch_size=10
    )
    np.testing.assert_array_equal(shown, expected)
    assert [len(batch) for batch in seen["ours"]] == [10, 10, 3]
    np.testing.assert_array_equal(np.concatenate(seen["ours"]), np.concatenate(seen["library"]))
    np.testing.assert_allclose(chances, expected_chances)
    assert shown[0].all() and 0.4 < shown[1:].mean() < 0.6


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_perturbed_films_by_hand(channels: int) -> None:
    image = np.random.default_rng(3).random((48, 48, channels)).astype(np.float32)
    segments = squares()
    hidden = hidden_copy(image, segments)
    rows = np.random.default_rng(4).integers(0, 2, (5, 36)).astype(np.uint8)
    buffer = np.full((5, *image.shape), np.nan, dtype=np.float32)
    films = _BatchExplainer(image, segments, 0, None)._fill(buffer, rows, segments.astype(np.intp))
    for made, row in zip(films, rows):
        np.testing.assert_array_equal(made, np.where(row[segments][..., None] == 1, image, hidden))


def own_ridge(shown: np.ndarray, chances: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and intercept by the normal equations: kernel of width .25 over the cosine distance, alpha 1."""
    share = shown.sum(axis=1) / shown.shape[1]
    distance = 1 - np.sqrt(share)  # cosine of a 0/1 vector with all ones: k / (sqrt(k) sqrt(n))
    closeness = np.sqrt(np.exp(-(distance**2) / 0.25**2))
    centre_x = np.average(shown, axis=0, weights=closeness)
    centre_y = np.average(chances, weights=closeness)
    x, y = shown - centre_x, chances - centre_y
    weights = np.linalg.solve(x.T @ (closeness[:, None] * x) + np.eye(x.shape[1]), x.T @ (closeness * y))
    return weights, float(centre_y - centre_x @ weights)


@pytest.mark.parametrize("class_index", [0, 1])
def test_weights_are_a_ridge_regression(class_index: int) -> None:
    image = film()
    found = lime(mean_model, image, class_index, samples=300, seed=5)
    count = len(found.weights)
    shown = np.random.RandomState(5).randint(0, 2, 300 * count).reshape(300, count)
    shown[0] = 1
    hidden = hidden_copy(image, found.segments)
    films = np.stack([np.where(row[found.segments][..., None] == 1, image, hidden) for row in shown])
    weights, intercept = own_ridge(shown.astype(np.float64), mean_model(films)[:, class_index])
    np.testing.assert_allclose(found.weights, weights, atol=1e-9)
    assert found.intercept == pytest.approx(intercept, abs=1e-9)
    np.testing.assert_allclose(found.heat, weights[found.segments], atol=1e-7)


def test_signs_and_top() -> None:
    """What raises P(1) lies left above, what lowers it right below; elsewhere nothing matters."""
    image = film(seed=7)
    found = lime(mean_model, image, 1, samples=400, seed=0, features=5)
    assert found.heat[:16, :16].mean() > 0.005 and found.heat[32:, 32:].mean() < -0.005
    assert np.abs(found.heat[:16, 32:]).max() < 0.25 * np.abs(found.heat).max()
    strength = np.abs(found.weights)
    assert list(found.top) == sorted(range(len(strength)), key=lambda number: -strength[number])[:5]
    assert 0.3 < found.fit <= 1


def test_two_classes_are_mirror_images() -> None:
    against, towards = (lime(mean_model, film(), index, samples=60, seed=3) for index in (0, 1))
    np.testing.assert_allclose(against.weights, -towards.weights, atol=1e-9)


def test_a_seed_is_a_result() -> None:
    first, again, other = (lime(mean_model, film(), 1, samples=50, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.weights, again.weights)
    assert not np.array_equal(first.weights, other.weights)


def test_model_that_never_changes_has_no_top() -> None:
    found = lime(lambda batch: np.full((len(batch), 2), 0.5), film(), 1, samples=40)
    np.testing.assert_allclose(found.weights, 0, atol=1e-12)
    assert np.isfinite(found.heat).all() and np.isfinite(found.fit)


def test_nothing_is_printed_and_progress_adds_up(capfd: pytest.CaptureFixture[str]) -> None:
    steps: list[int] = []
    lime(mean_model, film(), 1, samples=60, batch_size=25, report=steps.append)
    assert steps == [25, 25, 10]
    output = capfd.readouterr()
    assert output.out == "" and output.err == ""


def test_superpixels_count_from_zero_and_follow_the_guide() -> None:
    image = film(seed=9)
    image[..., 2] = 0.0
    image[:, 24:, 2] = 1.0  # the guide has one edge
    segments = lime(mean_model, image, 1, samples=4, guide=2, superpixels=16).segments
    assert segments.dtype == np.int32 and segments.shape == (48, 48)
    assert set(np.unique(segments)) == set(range(segments.max() + 1))
    assert 8 <= segments.max() + 1 <= 32
    assert not set(np.unique(segments[:, :24])) & set(np.unique(segments[:, 24:]))


@pytest.mark.parametrize("size", [33, 160, 321])
def test_superpixels_of_any_size_cover_the_film(size: int) -> None:
    segments = find_superpixels(np.random.default_rng(0).random((size, size)).astype(np.float32), 20)
    assert segments.shape == (size, size) and set(np.unique(segments)) == set(range(segments.max() + 1))


def test_superpixels_of_a_flat_film() -> None:
    segments = find_superpixels(np.zeros((64, 64), dtype=np.float32), 16)
    assert segments.min() == 0 and segments.max() >= 1


@pytest.mark.parametrize(("samples", "features"), [(1, 5), (0, 5), (10, 0)])
def test_too_little_asked(samples: int, features: int) -> None:
    with pytest.raises(ValueError, match="at least"):
        lime(mean_model, film(), 1, samples=samples, features=features)
