"""Limits: verdicts at and around them, files of one's own, and what is wrong with those."""

from __future__ import annotations

from pathlib import Path

import pytest

from covidcxr_tf.audit.finding import worst
from covidcxr_tf.audit.limits import Limits, information, load_limits
from covidcxr_tf.catalog import AUDITS
from covidcxr_tf.errors import ConfigError

ABOVE, BELOW = Limits(0.3, 0.6, "above", "why"), Limits(0.8, 0.7, "below", "why")


@pytest.mark.parametrize(
    ("limits", "value", "verdict"),
    [
        (ABOVE, 0.29, "pass"), (ABOVE, 0.3, "warn"), (ABOVE, 0.6, "fail"), (ABOVE, 2.0, "fail"),
        (BELOW, 0.81, "pass"), (BELOW, 0.8, "warn"), (BELOW, 0.7, "fail"), (BELOW, 0.0, "fail"),
    ],
)  # fmt: skip
def test_a_value_that_reaches_a_limit_has_crossed_it(limits: Limits, value: float, verdict: str) -> None:
    assert limits.verdict(value) == verdict


def test_an_undefined_value_is_not_applicable_and_keeps_its_reason() -> None:
    found = ABOVE.judge("calibration", "gap", {"value": None, "ci95": None, "why": "no film"}, "never shown.")
    assert (found.verdict, found.value, found.sentence) == ("not applicable", None, "Not checked: no film.")


def test_an_auc_far_below_chance_tells_as_much_as_one_far_above() -> None:
    assert (information(0.1), information(0.9), information(0.5), information(None)) == (0.9, 0.9, 0.5, None)
    found = Limits(0.6, 0.7, "above", "why").judge(
        "lungs_hidden", "AUC", {"value": 0.1, "ci95": None}, ".", judged=information(0.1)
    )
    assert (found.value, found.verdict) == (0.1, "fail")


def test_the_worst_verdict_wins_and_none_is_not_applicable() -> None:
    one = {name: ABOVE.judge("calibration", "gap", {"value": value, "ci95": None}, ".") for name, value in
           {"pass": 0.0, "warn": 0.4, "fail": 0.9}.items()}  # fmt: skip
    skipped = ABOVE.skip("calibration", "why")
    assert worst([one["pass"], skipped, one["warn"]]) == "warn"
    assert worst([one["fail"], one["pass"]]) == "fail"
    assert worst([skipped]) == worst([]) == "not applicable"


def test_ours_cover_every_check_with_a_reason() -> None:
    limits = load_limits()
    assert list(limits) == list(AUDITS)
    assert all(len(one.reason) > 40 for one in limits.values())


def test_a_file_changes_one_limit_and_leaves_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('[calibration]\nfail = 0.5\nreason = "a test set of 40 films"\n')
    limits = load_limits(file)
    assert (limits["calibration"].warn, limits["calibration"].fail) == (0.08, 0.5)
    assert limits["stability"] == load_limits()["stability"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[calibratoin]\nfail = 1\n", "did you mean 'calibration'"),
        ("[calibration]\nfial = 1\n", "unknown key 'fial'"),
        ("[calibration]\nfail = 0.01\n", "lies beyond"),
        ('[calibration]\nbad_is = "worse"\n', "above or below"),
        ('[calibration]\nwarn = "much"\n', "numbers"),
        ("calibration = 1\n", "no table"),
        ("[calibration\n", "no TOML"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_limits(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load_limits(tmp_path / "none.toml")
