"""`covidcxr audit` from the command line: files, verdicts, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from covidcxr_tf.catalog import AUDITS

FAST = ("--resamples", 100)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder with an untrained network of two classes on whole films of 64 px."""
    from covidcxr_tf.models import build
    from covidcxr_tf.models.files import save_model

    folder = tmp_path_factory.mktemp("run")
    facts = {
        "name": "tiny", "arch": "base", "task": "classification", "classes": ["normal", "covid19"],
        "positive": "covid19", "image": {"size": 64, "channels": ["raw"], "lungs": "none"},
    }  # fmt: skip
    save_model(build("base", 2, input_shape=(64, 64, 1), filters=4, seed=1), folder / "model.keras", facts)
    return folder


@pytest.fixture
def words(run: Path, phantoms: Path, tmp_path: Path) -> tuple[object, ...]:
    return ("audit", "--model", run, "--data", phantoms, "--out", tmp_path / "audit", *FAST)


def test_files_and_json_say_the_same(words: tuple[object, ...], covidcxr: Callable, tmp_path: Path) -> None:
    done = covidcxr(*words, "--only", "label_source,border_only,age_and_view", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document == json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert [one["name"] for one in document["findings"]] == ["border_only", "label_source", "age_and_view"]
    films = pd.read_csv(words[4])
    assert document["films"] == films["label"].isin(["normal", "covid19"]).sum()
    page = (tmp_path / "audit" / "audit.md").read_text()
    for one in document["findings"]:
        assert one["sentence"] in page
    assert (tmp_path / "audit" / "figures" / "audit.png").read_bytes().startswith(b"\x89PNG")


def test_strict_exits_with_4_where_a_check_fails(words: tuple[object, ...], covidcxr: Callable, tmp_path: Path) -> None:
    limits = tmp_path / "hard.toml"
    limits.write_text("[calibration]\nwarn = 0.0\nfail = 0.0\n")
    hard = (*words, "--only", "calibration", "--limits", limits)
    done = covidcxr(*hard, "--strict")
    assert done.code == 4
    assert "checks failed: calibration" in done.err
    assert (tmp_path / "audit" / "audit.json").is_file(), "the page that says why is there"
    assert covidcxr(*hard).code == 0
    limits.write_text("[calibration]\nwarn = 2\nfail = 2\n")
    assert covidcxr(*hard, "--strict").code == 0


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--only", "lungs_hiden"), 2, "did you mean 'lungs_hidden'"),
        (("--limits", "nowhere.toml"), 2, "nowhere.toml"),
        (("--split", "test"), 3, "no column 'split'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_computed(
    words: tuple[object, ...], covidcxr: Callable, tmp_path: Path, more: tuple[str, ...], code: int, message: str
) -> None:
    done = covidcxr(*words, *more)
    assert done.code == code
    assert message in done.err
    assert not (tmp_path / "audit").exists()


def test_list_audits_names_every_check(covidcxr: Callable) -> None:
    done = covidcxr("list", "audits", "--json")
    assert set(AUDITS) <= set(json.dumps(json.loads(done.out)).replace('"', " ").split())
