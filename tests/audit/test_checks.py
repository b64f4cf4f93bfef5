"""The audit finds a planted shortcut, and finds nothing where there is none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from covidcxr_tf.audit.evidence import Evidence, Look, area, mean
from covidcxr_tf.audit.hiding import cover_corners, hide_lungs, keep_border
from covidcxr_tf.audit.limits import load_limits
from covidcxr_tf.audit.study import as_document, draw_films, run_checks
from covidcxr_tf.catalog import AUDITS, resolve

Gather = Callable[[bool, bool], Evidence]
LIMITS = load_limits()
#: What a marker that tells the label, read by the network, has to turn up in; and what honest films must pass.
PIXELS = ("lungs_hidden", "border_only", "border_trained", "corner_text")
CAUGHT = (*PIXELS, "label_source", "metadata_only", "age_and_view")
CLEAN = ("within_source", *PIXELS, "label_source", "age_and_view")


def verdict(evidence: Evidence, name: str) -> str:
    return resolve("audits", name)(evidence, LIMITS[name]).verdict


@pytest.mark.parametrize("name", CAUGHT)
def test_a_planted_shortcut_fails(gather: Gather, name: str) -> None:
    assert verdict(gather(True, True), name) == "fail"


@pytest.mark.parametrize("name", [*CLEAN, "heat_in_lungs", "metadata_only", "duplicates", "stability"])
def test_an_honest_network_on_clean_films_passes(gather: Gather, name: str) -> None:
    found = resolve("audits", name)(gather(False, False), LIMITS[name])
    assert found.verdict == "pass", found


def test_the_cheat_is_perfect_on_its_films_and_worthless_on_clean_ones(gather: Gather) -> None:
    """The pooled figure of the first cannot be told from that of a good model: that is why the audit is there."""
    cheat, honest = gather(True, True), gather(False, False)
    assert cheat.area(cheat.scores())["value"] == 1.0
    assert honest.area(honest.scores())["value"] > 0.9
    clean = gather(False, True)
    assert abs(clean.area(clean.scores())["value"] - 0.5) < 0.15


def test_no_source_with_both_classes_is_not_applicable_and_says_so(gather: Gather) -> None:
    found = resolve("audits", "within_source")(gather(True, True), LIMITS["within_source"])
    assert (found.verdict, found.value) == ("not applicable", None)
    assert "no source holds both" in found.sentence
    assert found.details["pooled"]["value"] == 1.0


def test_within_source_counts_pairs_of_one_source_only(gather: Gather) -> None:
    evidence = gather(False, False)
    scores = evidence.scores()
    right = pairs = 0.0
    for one in np.flatnonzero(evidence.is_positive):
        for other in np.flatnonzero(~evidence.is_positive):
            if evidence.sources[one] == evidence.sources[other]:
                pairs += 1
                right += (scores[one] > scores[other]) + 0.5 * (scores[one] == scores[other])
    found = resolve("audits", "within_source")(evidence, LIMITS["within_source"])
    assert found.value == pytest.approx(right / pairs, abs=1e-12)


def test_heat_of_the_cheat_lies_outside_the_lungs(gather: Gather) -> None:
    found = resolve("audits", "heat_in_lungs")(gather(True, True), LIMITS["heat_in_lungs"])
    assert found.verdict == "fail"
    assert found.value == pytest.approx(0.0, abs=0.05)
    assert found.details["pointing_game"]["value"] == 0.0


def test_cross_source_matrix_holds_where_sources_share_the_sign(gather: Gather) -> None:
    found = resolve("audits", "cross_source")(gather(False, False), LIMITS["cross_source"])
    assert found.verdict == "pass"
    assert set(found.details["matrix"]) == {"north", "south"}


def test_source_in_features_sees_a_network_that_reads_the_hospital(gather: Gather) -> None:
    """On clean films the marker tells the source: the cheat's feature is the marker itself, the honest one's is not."""
    reads = resolve("audits", "source_in_features")(gather(False, True), LIMITS["source_in_features"])
    honest = resolve("audits", "source_in_features")(gather(False, False), LIMITS["source_in_features"])
    assert (reads.verdict, honest.verdict) == ("fail", "pass")


def test_duplicates_across_splits_are_counted(gather: Gather) -> None:
    evidence = gather(False, False)
    table = evidence.manifest.copy()
    table.attrs = evidence.manifest.attrs
    table.loc[len(table)] = {**table.iloc[0].to_dict(), "split": "test", "patient_id": "p99"}
    torn = Evidence(evidence.loaded, evidence.films, table)
    found = resolve("audits", "duplicates")(torn, LIMITS["duplicates"])
    assert found.verdict == "fail"
    assert found.details["pairs_across_splits"] >= 1


def test_out_of_domain_counts_certain_answers(gather: Gather) -> None:
    """The cheat is certain of any picture with a bright corner, and no lung network warns it."""
    found = resolve("audits", "out_of_domain")(gather(True, True), LIMITS["out_of_domain"])
    kinds = found.details["kinds"]
    assert set(kinds) == {"photographs", "noise", "empty", "inverted", "on its side", "upside down"}
    assert kinds["empty"] == {"pictures": 1, "certain": 1, "certain_without_warning": 1}
    assert found.verdict == "fail"


def test_calibration_gap_of_a_sure_and_right_network_is_small(gather: Gather) -> None:
    assert resolve("audits", "calibration")(gather(True, True), LIMITS["calibration"]).value < 0.02


def test_every_check_has_limits_and_a_finding_ready_for_json(gather: Gather) -> None:
    evidence = gather(True, True)
    findings = run_checks(evidence, LIMITS)
    assert [one.name for one in findings] == list(AUDITS) == list(LIMITS)
    document = as_document(evidence, findings, split="test")
    assert document["verdict"] == "fail"
    assert sum(document["verdicts"].values()) == len(AUDITS)
    for one in document["findings"]:
        assert one["sentence"].endswith(".")
        assert (one["value"] is None) == (one["verdict"] == "not applicable")


def test_area_and_mean_equal_scikit_learn_and_numpy() -> None:
    random = np.random.default_rng(3)
    scores, truth = random.random(50).round(1), random.random(50) < 0.4
    patients = np.arange(50) // 2
    assert area(scores, truth, patients, 100)["value"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert mean(scores, patients, 100)["value"] == pytest.approx(scores.mean(), abs=1e-12)
    assert area(scores, np.ones(50, bool), patients)["value"] is None


def test_hiding_takes_what_it_says_and_nothing_else() -> None:
    film = np.full((40, 40), 0.5, np.float32)
    region = np.zeros((20, 20), np.uint8)
    region[5:15, 4:8] = region[5:15, 12:16] = 1
    look = Look(None, None, region)
    hidden = hide_lungs(film, look)
    assert (hidden[10:30, 8:32] == 0).all()
    assert hidden.sum() == pytest.approx(0.5 * (1600 - 20 * 24))
    border = keep_border(film, look)
    assert (border[4:-4, 4:-4] == 0).all()
    assert border.sum() == pytest.approx(0.5 * (1600 - 32 * 32))
    film[:6, :10] = 1
    film[:3, :4] = 0.2
    covered = cover_corners(film, look)
    assert (covered[:6, :10] == 1).all()
    assert (film[:3, :4] == np.float32(0.2)).all(), "the film itself is left alone"


def test_covering_corners_spares_the_lungs() -> None:
    film = np.random.default_rng(0).random((40, 40)).astype(np.float32)
    everywhere = np.ones((20, 20), np.uint8)
    assert (cover_corners(film, Look(None, None, everywhere)) == film).all()


def test_drawn_films_keep_every_label_and_source(gather: Gather) -> None:
    films = gather(False, False).films
    drawn = draw_films(films, 12, seed=1)
    assert 8 <= len(drawn) <= 16
    assert set(zip(drawn["label"], drawn["source"])) == set(zip(films["label"], films["source"]))
    assert drawn.attrs == films.attrs
    assert draw_films(films, 12, seed=1).equals(drawn)


def test_a_group_that_is_read_worse_fails_and_equal_ones_pass(gather: Gather) -> None:
    """Every second positive film of women loses what the network reads; nothing else changes."""
    evidence, limits = gather(False, False), LIMITS["subgroups"]
    equal = resolve("audits", "subgroups")(evidence, limits)
    assert equal.verdict == "pass", equal
    assert {row["by"] for row in equal.details["groups"]} >= {"sex", "source"}
    worse = evidence.probabilities().copy()
    hit = evidence.is_positive & (evidence.films["sex"] == "F").to_numpy() & (np.arange(len(worse)) % 2 == 0)
    worse[hit] = worse[hit][:, ::-1]
    changed = Evidence(evidence.loaded, evidence.films, evidence.manifest, _answers={"unchanged": worse})
    found = resolve("audits", "subgroups")(changed, limits)
    assert found.verdict == "fail"
    assert "sex F" in found.sentence
    assert "more than chance" in found.sentence
    lost = hit.sum() / (evidence.is_positive & (evidence.films["sex"] == "F").to_numpy()).sum()
    assert found.value == pytest.approx(lost, abs=0.02)
    assert found.details["worst"]["sensitivity"]["group"] == "sex F"


def test_a_group_that_is_ahead_is_not_called_behind(gather: Gather) -> None:
    evidence = gather(False, False)
    rows = np.arange(len(evidence.films))
    films = evidence.films.assign(sex=np.array(["F", "M", "X"])[pd.factorize(evidence.films["patient_id"])[0] % 3])
    films.attrs = evidence.films.attrs
    worse = evidence.probabilities().copy()
    hit = evidence.is_positive & (films["sex"] != "X").to_numpy() & (rows % 2 == 0)
    worse[hit] = worse[hit][:, ::-1]
    changed = Evidence(evidence.loaded, films, evidence.manifest, _answers={"unchanged": worse})
    found = resolve("audits", "subgroups")(changed, LIMITS["subgroups"])
    ahead = [row for row in found.details["groups"] if row["group"] == "X" and row["gap"]["value"] < 0]
    assert ahead
    assert found.value >= 0
    assert "sex X" not in found.sentence


def test_groups_that_are_too_small_are_named_and_not_judged(gather: Gather) -> None:
    evidence = gather(False, False)
    rows = np.flatnonzero(evidence.films["patient_id"].isin([f"p{n:02d}" for n in range(4, 20)]))
    films = evidence.films.iloc[rows].reset_index(drop=True)
    films.attrs = evidence.films.attrs
    few = Evidence(evidence.loaded, films, evidence.manifest, _answers={"unchanged": evidence.probabilities()[rows]})
    found = resolve("audits", "subgroups")(few, LIMITS["subgroups"])
    assert found.verdict == "not applicable"
    assert "10 patients" in found.sentence
    assert "sex: F" in found.details["too_small"]
