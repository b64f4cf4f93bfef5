from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from covidcxr_tf.serving.problems import ServingProblem
from covidcxr_tf.serving.servable import Servable
from covidcxr_tf.serving.versions import Versions
from covidcxr_tf.serving.warmup import WARMUP_FILE, warm_up


@pytest.fixture
def base(toy_export: Path, tmp_path: Path) -> Path:
    """Return OUT/toy with version 1 only."""
    shutil.copytree(toy_export / "1", tmp_path / "toy" / "1")
    return tmp_path / "toy"


def add(base: Path, toy_export: Path, version: int, broken: bool = False) -> Path:
    folder = base / str(version)
    shutil.copytree(toy_export / "2", folder)
    if broken:
        (folder / "saved_model.pb").write_bytes(b"broken")
    return folder


def states(versions: Versions) -> dict[int, str]:
    return {status.version: status.state for status in versions.statuses()}


def white(servable: Servable) -> float:
    """Return the second probability of a white film: 1 / version of the toy."""
    answer = servable.run("tensors", {"image": np.ones((1, 8, 8, 1), np.float32)})
    return float(answer["probabilities"][0, 1])


def test_the_newest_is_served_and_the_status_tells_of_it(toy_export: Path) -> None:
    versions = Versions(toy_export)
    assert not versions.ready
    versions.poll()
    assert versions.ready
    assert states(versions) == {2: "AVAILABLE"}
    with versions.lease() as servable:
        assert (servable.version, white(servable)) == (2, 0.5)
    versions.stop()
    assert states(versions) == {2: "END"}
    assert not versions.ready


def test_a_new_version_comes_while_a_lease_on_the_old_one_is_held(base: Path, toy_export: Path) -> None:
    versions = Versions(base)
    versions.poll()
    with versions.lease() as old:
        add(base, toy_export, 2)
        versions.poll()
        assert states(versions) == {2: "AVAILABLE", 1: "UNLOADING"}
        with versions.lease() as new:
            assert new.version == 2
        assert white(old) == 1.0  # still there for who has it
        with pytest.raises(ServingProblem, match=r"Specific\(toy, 1\)"), versions.lease(1):
            pass
    assert states(versions) == {2: "AVAILABLE", 1: "END"}
    with pytest.raises(ServingProblem) as gone:
        white(old)
    assert gone.value.code == "UNAVAILABLE"
    versions.stop()


def test_a_broken_version_leaves_the_old_one_and_is_tried_again_when_it_changes(base: Path, toy_export: Path) -> None:
    versions = Versions(base)
    versions.poll()
    folder = add(base, toy_export, 2, broken=True)
    versions.poll()
    newest = versions.statuses()[0]
    assert (newest.version, newest.state, newest.error_code) == (2, "END", "FAILED_PRECONDITION")
    assert newest.error_message
    with versions.lease() as servable:
        assert servable.version == 1
    shutil.copy(toy_export / "2" / "saved_model.pb", folder / "saved_model.pb")
    versions.poll()
    assert states(versions) == {2: "AVAILABLE", 1: "END"}
    versions.stop()


def test_a_version_that_is_only_half_there_is_no_reason_to_stop(base: Path) -> None:
    versions = Versions(base)
    (base / "7").mkdir()
    (base / "not-a-version").mkdir()
    (base / "٣").mkdir()  # a digit to Python, not to TensorFlow Serving
    versions.poll()
    assert states(versions) == {7: "END", 1: "AVAILABLE"}
    versions.stop()


def test_going_back_by_taking_the_new_version_away(base: Path, toy_export: Path) -> None:
    folder = add(base, toy_export, 2)
    versions = Versions(base)
    versions.poll()
    shutil.rmtree(folder)
    versions.poll()
    assert states(versions) == {2: "END", 1: "AVAILABLE"}
    shutil.rmtree(base / "1")
    versions.poll()  # nothing left on the disk: what is in memory goes on
    with versions.lease() as servable:
        assert white(servable) == 1.0
    versions.stop()


def test_labels_keep_their_versions_and_move_with_the_file(base: Path, toy_export: Path, tmp_path: Path) -> None:
    add(base, toy_export, 2)
    config = tmp_path / "models.config"

    def write(stable: int) -> None:
        config.write_text(
            'model_config_list { config { name: "toy" base_path: "/models/toy" model_platform: "tensorflow" '
            f'version_labels {{ key: "stable" value: {stable} }} }} '
            'config { name: "other" version_labels { key: "foreign" value: 1 } } }'
        )

    write(1)
    versions = Versions(base, labels={"canary": 2}, labels_file=config)
    versions.poll()
    assert versions.labels == {"stable": 1, "canary": 2}
    assert states(versions) == {2: "AVAILABLE", 1: "AVAILABLE"}
    with versions.lease(label="stable") as servable:
        assert servable.version == 1
    write(2)
    versions.poll()
    assert states(versions) == {2: "AVAILABLE", 1: "END"}
    config.write_text("nonsense {")
    versions.poll()
    assert versions.labels["stable"] == 2
    with pytest.raises(ServingProblem, match="Unrecognized servable version label: foreign") as unknown:
        versions.version_of("foreign")
    assert unknown.value.http_status == 400
    versions.stop()


def test_keep_all(toy_export: Path) -> None:
    versions = Versions(toy_export, keep="all")
    versions.poll()
    assert states(versions) == {2: "AVAILABLE", 1: "AVAILABLE"}
    versions.stop()


@pytest.mark.parametrize(
    ("version", "label", "code", "message"),
    [
        (9, None, "NOT_FOUND", r"Servable not found for request: Specific\(toy, 9\)"),
        (None, "nope", "INVALID_ARGUMENT", "Unrecognized servable version label: nope"),
        (1, "stable", "INVALID_ARGUMENT", r"Both model version \(1\) and model version label \(stable\)"),
    ],
)
def test_what_cannot_be_leased(serving: tuple, version: int | None, label: str | None, code: str, message: str) -> None:
    with pytest.raises(ServingProblem, match=message) as wrong, serving[1].lease(version, label):
        pass
    assert wrong.value.code == code


def test_another_model_is_not_found(serving: tuple) -> None:
    serving[1].check("toy")
    with pytest.raises(ServingProblem, match=r"Servable not found for request: Latest\(foo\)"):
        serving[1].check("foo")
    with pytest.raises(ServingProblem, match=r"Servable not found for request: Specific\(foo, 3\)"):
        serving[1].check("foo", 3)


def write_warmup(folder: Path, content: bytes, signature: str = "serving_default") -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    entry = prediction_log_pb2.PredictionLog()
    request = entry.predict_log.request
    request.model_spec.signature_name = signature
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([content], dtype=tf.string))
    with tf.io.TFRecordWriter(str(folder / "assets.extra" / WARMUP_FILE)) as writer:
        writer.write(entry.SerializeToString())


def test_warm_up_runs_before_a_version_is_available(base: Path, film_of: Callable[..., bytes]) -> None:
    write_warmup(base / "1", film_of(1))
    servable = Servable.load(base / "1")
    assert warm_up(servable) == 1
    servable.close()
    write_warmup(base / "1", film_of(1), signature="gone")
    versions = Versions(base)
    versions.poll()
    assert states(versions) == {1: "END"}
    assert not versions.ready
    versions.stop()
