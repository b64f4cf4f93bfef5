"""Init strings: what is loaded, what is left fresh, what is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from covidcxr_tf.errors import WeightsError
from covidcxr_tf.models import chexnet, converted, densenet121, imagenet, resnet18, resnet101, vgg16, weights
from covidcxr_tf.models.files import save_model
from covidcxr_tf.models.layers import IMAGENET

Source = tuple[Path, dict[str, list[np.ndarray]]]
FITTING: dict[str, Any] = {"blocks": (1, 1), "growth": 2, "stem": 4}  # what the tiny CheXNet files hold


def equal(model: keras.Model, other: keras.Model, layer: str) -> bool:
    pairs = zip(model.get_layer(layer).get_weights(), other.get_layer(layer).get_weights(), strict=True)
    return all(np.array_equal(one, two) for one, two in pairs)


def test_none_changes_nothing(tiny: Callable[..., keras.Model]) -> None:
    model = tiny("base")
    before = model.get_weights()
    assert weights.apply_init(model, "none") == weights.InitReport("none")
    assert all(np.array_equal(one, two) for one, two in zip(before, model.get_weights(), strict=True))


def test_chexnet_fills_the_backbone_and_leaves_the_head(chexnet_keras: Source) -> None:
    path, arrays = chexnet_keras
    model = chexnet.build((32, 32, 3), **FITTING, seed=1)
    report = weights.apply_init(model, f"chexnet:{path}")
    assert report.left_out == ("head", "logits")
    assert report.unused == ()
    for name in report.loaded:
        for found, wanted in zip(model.get_layer(name).get_weights(), arrays[name], strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert equal(model, chexnet.build((32, 32, 3), **FITTING, seed=1), "logits")


def test_build_normalises_as_the_weights_were_trained(chexnet_keras: Source) -> None:
    init = f"chexnet:{chexnet_keras[0]}"

    def normalised(**options: Any) -> Any:
        model = chexnet.build((32, 32, 3), **FITTING, weights=init, **options)
        names = {layer.name: layer for layer in model.layers}
        return names["normalise"].get_config()["mean"] if "normalise" in names else None

    np.testing.assert_allclose(np.ravel(normalised()), IMAGENET[0], rtol=1e-6)
    np.testing.assert_allclose(np.ravel(normalised(compat="paper")), IMAGENET[0], rtol=1e-6)
    assert normalised(compat="authors") is None
    own = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    np.testing.assert_allclose(np.ravel(normalised(normalise=own)), own[0])


def test_converted_file_needs_no_prefix(chexnet_keras: Source, tmp_path: Path) -> None:
    target = tmp_path / "c.weights.h5"
    converted.convert(chexnet_keras[0], target)
    direct, prefixed, bare = (
        chexnet.build((32, 32, 3), **FITTING, seed=2, weights=init)
        for init in (f"chexnet:{chexnet_keras[0]}", f"chexnet:{target}", str(target))
    )
    for other in (prefixed, bare):
        assert all(np.array_equal(one, two) for one, two in zip(direct.get_weights(), other.get_weights(), strict=True))
        assert "normalise" in {layer.name for layer in other.layers}


@pytest.mark.parametrize(("have", "want"), [(3, 1), (1, 3)])
def test_another_number_of_channels_keeps_the_features_of_grey_films(
    have: int, want: int, write_keras2: Callable, tmp_path: Path
) -> None:
    path = tmp_path / "c.h5"
    write_keras2(path, np.random.default_rng(4), channels=have)
    same, other = (
        chexnet.build((32, 32, n), **FITTING, weights=f"chexnet:{path}", normalise=((0.0,) * n, (1.0,) * n))
        for n in (have, want)
    )
    grey = np.random.default_rng(5).random((2, 32, 32, 1), dtype=np.float32)
    first, second = (
        keras.Model(model.input, model.get_layer("relu").output)(np.repeat(grey, model.input_shape[-1], axis=-1))
        for model in (same, other)
    )
    np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-3 * float(np.max(first)))


def test_recommended_normalisation(chexnet_keras: Source, tiny: Callable[..., keras.Model], tmp_path: Path) -> None:
    assert weights.recommended_normalisation("none", 3) is None
    assert weights.recommended_normalisation("imagenet", 3) == IMAGENET
    mean, std = weights.recommended_normalisation("imagenet", 1) or ((), ())
    np.testing.assert_allclose([*mean, *std], [0.449, 0.226], rtol=1e-9)
    assert weights.recommended_normalisation(f"chexnet:{chexnet_keras[0]}", 3) == IMAGENET
    with pytest.raises(WeightsError, match="trained on 3 channels; the model has 2"):
        weights.recommended_normalisation("imagenet", 2)
    ours = save_model(tiny("base", normalise=((0.4,), (0.3,))), tmp_path / "m.keras", {})
    mean, std = weights.recommended_normalisation(str(ours), 1) or ((), ())
    np.testing.assert_allclose([*mean, *std], [0.4, 0.3], rtol=1e-6)
    assert weights.recommended_normalisation(str(save_model(tiny("base"), tmp_path / "n.keras", {})), 1) is None


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_own_file_fits_by_name_and_shape(
    suffix: str, tiny: Callable[..., keras.Model], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, path = tiny("chexnet", seed=8), tmp_path / f"m{suffix}"
    source.save(path) if suffix == ".keras" else source.save_weights(path)
    three_classes = tiny("chexnet", num_classes=3)
    with caplog.at_level(logging.INFO, logger="covidcxr_tf"):
        report = weights.apply_init(three_classes, str(path))
    assert report.left_out == ("logits",)
    assert report.unused == ("logits",)
    assert equal(three_classes, source, "head")
    assert equal(three_classes, source, "conv2_block1_2_conv")
    assert caplog.records[-1].levelno == logging.INFO
    assert "layers loaded; fresh: logits; not used: logits" in caplog.text


def test_backbone_layers_that_stay_fresh_are_a_warning(
    tiny: Callable[..., keras.Model], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save_model(tiny("chexnet", seed=8), tmp_path / "m.keras", {})
    grey = tiny("chexnet", input_shape=(32, 32, 1))
    with caplog.at_level(logging.INFO, logger="covidcxr_tf"):
        report = weights.apply_init(grey, str(path))
    assert report.left_out == ("conv1_conv",)
    assert caplog.records[-1].levelno == logging.WARNING


def test_half_size_file_is_loaded_too(
    tiny: Callable[..., keras.Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("covidcxr_tf.models.files.HALF_FROM", 0)
    source = tiny("unet", seed=8)
    path = save_model(source, tmp_path / "m.keras", {}, half=True)
    model = tiny("unet", weights=str(path))
    kernel = source.get_layer("encoder1_conv1").get_weights()[0]
    np.testing.assert_array_equal(model.get_layer("encoder1_conv1").get_weights()[0], kernel.astype(np.float16))


@pytest.mark.parametrize(
    ("name", "init", "said"),
    [
        (
            "unet",
            "imagenet",
            "there are no ImageNet weights for unet; expected DenseNet121, ResNet101, VGG16",
        ),
        ("chexnet", "nowhere.keras", "nowhere.keras: there is no such file"),
        ("chexnet", "chexnet:nowhere.h5", "nowhere.h5: there is no such file"),
    ],
)
def test_what_cannot_be_found(name: str, init: str, said: str, tiny: Callable[..., keras.Model]) -> None:
    model = tiny(name)
    with pytest.raises(WeightsError, match=said):
        weights.apply_init(model, init)


def test_what_does_not_fit_changes_nothing(
    chexnet_keras: Source, tiny: Callable[..., keras.Model], tmp_path: Path
) -> None:
    model = tiny("chexnet")
    before = model.get_weights()
    with pytest.raises(WeightsError, match=r"does not fit chexnet: \d+ layers .*, such as conv1_conv; expected"):
        weights.apply_init(model, f"chexnet:{chexnet_keras[0]}")
    base = save_model(tiny("base"), tmp_path / "base.keras", {})
    with pytest.raises(WeightsError, match=r"does not fit chexnet.*expected a file of the same architecture"):
        weights.apply_init(model, str(base))
    with pytest.raises(WeightsError, match=f"for a CheXNet file say chexnet:{chexnet_keras[0].name}"):
        weights.apply_init(model, str(chexnet_keras[0]))
    assert all(np.array_equal(one, two) for one, two in zip(before, model.get_weights(), strict=True))


# Networks of few filters that have the layer by which the full-size one is known.
LANDMARK: dict[str, Callable[..., keras.Model]] = {
    "chexnet": lambda **options: chexnet.build((32, 32, 3), blocks=(1, 1, 1, 16), growth=2, stem=4, **options),
    "densenet121": lambda **options: densenet121.build((32, 32, 3), blocks=(1, 1, 1, 16), growth=2, stem=4, **options),
    "resnet101": lambda **options: resnet101.build((32, 32, 3), blocks=(1, 1, 23), stem=2, **options),
    "vgg16": lambda **options: vgg16.build((32, 32, 3), filters=(4, 4, 4, 4, 4), head_units=4, **options),
}
APPLICATIONS = {"chexnet": "DenseNet121", "densenet121": "DenseNet121", "resnet101": "ResNet101", "vgg16": "VGG16"}


@pytest.mark.parametrize(
    ("name", "file", "size"),
    [
        ("chexnet", "densenet/densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5", "29 MB"),
        ("densenet121", "densenet/densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5", "29 MB"),
        ("resnet101", "resnet/resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5", "171 MB"),
        ("vgg16", "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "59 MB"),
    ],
)
def test_imagenet_without_network(name: str, file: str, size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise Exception("URL fetch failure on https://storage.googleapis.com/...: None -- [Errno -3] Temporary failure")

    monkeypatch.setattr(keras.applications, APPLICATIONS[name], fail)
    with pytest.raises(WeightsError) as caught:
        LANDMARK[name](weights="imagenet")
    message = str(caught.value)
    assert f"{file.split('/')[1]} ({size}) is not in ~/.keras/models" in message
    assert f"fetch https://storage.googleapis.com/tensorflow/keras-applications/{file} and put it into" in message
    assert "use --init none" in message
    assert message.count("\n") == 0


@pytest.mark.parametrize("name", ["chexnet", "densenet121", "resnet101", "vgg16"])
def test_the_files_are_those_that_keras_looks_for(name: str) -> None:
    import inspect

    module = inspect.getmodule(getattr(keras.applications, imagenet.SOURCES[name].application))
    text = inspect.getsource(module) if module else ""
    folder, file = imagenet.SOURCES[name].file.split("/")
    assert f"{folder}/" in text
    # ResNet's name is put together from parts there.
    assert file in text or (name == "resnet101" and '"resnet101"' in text and "_tf_kernels_notop.h5" in text)


@pytest.mark.parametrize("name", LANDMARK)
def test_imagenet_is_laid_on_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, model = LANDMARK[name](seed=21), LANDMARK[name](seed=22)
    monkeypatch.setattr(keras.applications, APPLICATIONS[name], lambda **_: source)
    report = weights.apply_init(model, "imagenet")
    heads = {layer.name for layer in model.layers} & set(weights.HEAD_LAYERS)
    assert set(report.left_out) == heads
    first = imagenet.SOURCES[name].first
    loaded = [layer for layer in report.loaded if layer != first]
    assert first in report.loaded and all(equal(model, source, layer) for layer in loaded)
    assert not equal(model, source, "logits")


@pytest.mark.parametrize("name", ["resnet101", "vgg16"])
def test_colours_come_in_the_order_and_the_units_that_keras_trained_with(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`preprocess_input` of keras.applications on 0 to 255 is what our first layers do on [0, 1]."""
    source = LANDMARK[name](seed=21, normalise=((0.0,) * 3, (1.0,) * 3))
    monkeypatch.setattr(keras.applications, APPLICATIONS[name], lambda **_: source)
    model = LANDMARK[name](seed=22, weights="imagenet")
    films = np.random.default_rng(6).random((2, 32, 32, 3), dtype=np.float32)
    package = {"resnet101": keras.applications.resnet, "vgg16": keras.applications.vgg16}[name]
    theirs = package.preprocess_input(films * 255)
    layer = imagenet.SOURCES[name].first
    expected, found = (
        np.asarray(keras.Model(one.input, one.get_layer(layer).output)(images))
        for one, images in ((source, theirs), (model, films))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_densenet_and_the_others_are_normalised_each_in_its_own_way() -> None:
    assert weights.recommended_normalisation("imagenet", 3, arch="densenet121") == IMAGENET
    for arch in ("resnet101", "vgg16"):
        mean, std = weights.recommended_normalisation("imagenet", 3, arch=arch) or ((), ())
        np.testing.assert_allclose([*mean, *std], [123.68 / 255, 116.779 / 255, 103.939 / 255, *[1 / 255] * 3])
        (grey,), (spread,) = weights.recommended_normalisation("imagenet", 1, arch=arch) or ((0,), (0,))
        assert (grey, spread) == pytest.approx((np.mean(mean), 1 / 255))


def test_a_phase_hands_over_all_but_the_head_and_the_normalisation(tmp_path: Path) -> None:
    options: dict[str, Any] = {"blocks": (1, 2), "stem": 4}
    first = resnet18.build((32, 32, 1), 14, seed=1, normalise=((0.4,), (0.2,)), **options)
    path = save_model(first, tmp_path / "phase_1.keras", {})
    second = resnet18.build((32, 32, 1), 2, seed=2, normalise=((0.5,), (0.3,)), weights=str(path), **options)
    names = [layer.name for layer in second.layers if layer.weights and layer.name not in weights.HEAD_LAYERS]
    assert all(equal(first, second, name) for name in names)
    assert np.ravel(second.get_layer("normalise").mean) == pytest.approx([0.5])
    unsaid = resnet18.build((32, 32, 1), 2, weights=str(path), **options)
    assert np.ravel(unsaid.get_layer("normalise").mean) == pytest.approx([0.4])


def test_a_normalisation_with_weights_is_not_taken_either(tmp_path: Path) -> None:
    def small(seed: int) -> keras.Model:
        image = keras.Input((8, 8, 1), name="image")
        layer = keras.layers.Normalization(axis=-1, name="normalise")
        layer.adapt(np.random.default_rng(seed).random((4, 8, 8, 1)) + seed)
        features = keras.layers.Conv2D(2, 3, name="conv1_conv")(layer(image))
        return keras.Model(image, keras.layers.Dense(2, name="logits")(keras.layers.Flatten()(features)))

    first, second = small(1), small(2)
    report = weights.apply_init(second, str(save_model(first, tmp_path / "m.keras", {})))
    assert report.loaded == ("conv1_conv", "logits")
    assert report.left_out == () == report.unused
    assert float(np.ravel(second.get_layer("normalise").mean)[0]) > 2


def test_a_file_that_fills_less_than_half_of_the_backbone_is_of_another_network(tmp_path: Path) -> None:
    path = save_model(resnet18.build((32, 32, 3), 2, blocks=(1,), stem=4), tmp_path / "m.keras", {})
    with pytest.raises(WeightsError, match=r"does not fit resnet18: \d+ layers .*expected a file of the same arch"):
        resnet18.build((32, 32, 3), 2, blocks=(1, 1, 1), stem=4, weights=str(path))
