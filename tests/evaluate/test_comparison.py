from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from covidcxr_tf.errors import ManifestError, UsageError
from covidcxr_tf.evaluate.comparison import compare_tables, join_tables, models_table, pairs_table
from covidcxr_tf.evaluate.delong import clustered_delong, delong, paired_tests
from covidcxr_tf.evaluate.significance import mcnemar
from covidcxr_tf.files import plain

CLASSES = ("negative", "covid19")


def predictions(seed: int, strength: float = 1.0, count: int = 60, films_each: int = 2) -> pd.DataFrame:
    truth = np.random.default_rng(99).random(count) < 0.5
    score = 1 / (1 + np.exp(-(strength * truth + np.random.default_rng(seed).normal(size=count))))
    return pd.DataFrame(
        {
            "path": [f"{k}.png" for k in range(count)],
            "patient_id": [f"p{k // films_each}" for k in range(count)],
            "label": np.where(truth, "covid19", "negative"),
            "source": "cohen",
            "prob_negative": 1 - score,
            "prob_covid19": score,
        }
    )


def three() -> dict[str, pd.DataFrame]:
    return {"a": predictions(1, 2.0), "b": predictions(2, 1.0), "c": predictions(3, 0.2)}


def test_the_document_holds_what_delong_found() -> None:
    tables = three()
    found = compare_tables(tables)
    scores = np.stack([table["prob_covid19"] for table in tables.values()])
    truth = (tables["a"]["label"] == "covid19").to_numpy()
    films, patients = delong(scores, truth), clustered_delong(scores, truth, tables["a"]["patient_id"].to_numpy())
    assert (found["n"], found["patients"], found["positive"]) == (60, 30, "covid19")
    assert (found["positives"], found["negatives"]) == (truth.sum(), 60 - truth.sum())
    assert [model["auroc"] for model in found["models"]] == films.aucs.tolist()
    reach = 1.959964 * np.sqrt(patients.covariance[1, 1])
    assert found["models"][1]["by_patient"]["ci95"] == pytest.approx([films.aucs[1] - reach, films.aucs[1] + reach])
    pairs = {(pair["first"], pair["second"]): pair for pair in found["pairs"]}
    assert list(pairs) == [("a", "b"), ("a", "c"), ("b", "c")] and found["comparisons"] == 3
    pair = pairs["a", "c"]
    assert pair["difference"] == pytest.approx(films.aucs[0] - films.aucs[2])
    for basis, result in (("by_film", films), ("by_patient", patients)):
        p = paired_tests(result).p_values[0, 2]
        assert pair[basis]["p"] == pytest.approx(p)
        assert pair[basis]["bonferroni"] == pytest.approx(min(1.0, 3 * p))
        error = np.sqrt(result.difference_variance[0, 2])
        bounds = [pair["difference"] - 1.959964 * error, pair["difference"] + 1.959964 * error]
        assert pair[basis]["ci95"] == pytest.approx(bounds, abs=1e-6)
    smallest = min(pair["by_film"]["p"] for pair in found["pairs"])
    assert min(pair["by_film"]["holm"] for pair in found["pairs"]) == pytest.approx(3 * smallest)
    json.dumps(plain(found), allow_nan=False)


def test_the_order_of_rows_does_not_matter() -> None:
    tables = three()
    shuffled = tables | {"b": tables["b"].sample(frac=1, random_state=4)}
    assert compare_tables(shuffled) == compare_tables(tables)


def test_another_class_can_be_the_positive_one() -> None:
    found, mirrored = compare_tables(three()), compare_tables(three(), "negative")
    assert mirrored["positives"] == found["negatives"]
    # two classes whose probabilities sum to 1 rank the films the other way round
    for one, other in zip(found["models"], mirrored["models"], strict=True):
        assert one["auroc"] == pytest.approx(other["auroc"])


def test_models_of_other_classes_compare_on_the_side_of_a_film() -> None:
    fine = predictions(2)
    fine["prob_viral"] = fine["prob_negative"] / 2
    fine["prob_negative"] /= 2
    fine = fine.assign(label=np.where(fine["label"] == "negative", "viral", "covid19"))
    found = compare_tables({"two": predictions(1), "three": fine}, "covid19")
    assert found["n"] == 60
    wrong = fine.assign(label=fine["label"].where(fine.index != 5, "viral"))
    wrong.loc[5, "label"] = "viral" if fine.loc[5, "label"] == "covid19" else "covid19"
    with pytest.raises(ManifestError, match=r"three: the film '5.png' has is_positive .* \(1 such films\)"):
        compare_tables({"two": predictions(1), "three": wrong}, "covid19")


def test_equal_and_perfect_models_are_null_and_say_why() -> None:
    table = predictions(1)
    perfect = table.assign(prob_covid19=(table["label"] == "covid19") * 0.8 + 0.1)
    perfect["prob_negative"] = 1 - perfect["prob_covid19"]
    sharper = table.assign(prob_covid19=table["prob_covid19"] ** 3)
    sharper["prob_negative"] = 1 - sharper["prob_covid19"]
    found = compare_tables({"model": table, "sharper": sharper, "perfect": perfect})
    same, other, _ = found["pairs"]
    assert same["difference"] == 0 and same["by_patient"]["p"] is None
    assert "nothing to test" in same["by_patient"]["why"]
    assert other["by_patient"]["p"] is not None
    assert other["by_patient"]["bonferroni"] == pytest.approx(3 * other["by_patient"]["p"])  # the undefined one counts
    last = found["models"][2]
    assert last["auroc"] == 1 and last["by_patient"]["ci95"] is None and 0 < last["by_patient"]["exact"][0] < 1
    assert np.isnan(models_table(found)["lower_by_patient"].iloc[2])
    assert pairs_table(found)["p_by_film"].isna().tolist() == [True, False, False]


def test_films_that_not_all_tables_hold_are_refused_or_counted() -> None:
    tables = three()
    tables["b"] = tables["b"].iloc[6:]
    with pytest.raises(ManifestError, match=r"b: lacks 6 of the 60 films of a, '0.png' first.*--common"):
        compare_tables(tables)
    found = compare_tables(tables, common=True)
    assert found["left_out"] == {"a": 6, "b": 0, "c": 6} and found["n"] == 54
    whole = {name: table[~table["path"].isin([f"{k}.png" for k in range(6)])] for name, table in three().items()}
    assert found["models"] == compare_tables(whole)["models"]
    with pytest.raises(ManifestError, match="no film stands in all tables"):
        compare_tables({"a": predictions(1).iloc[:30], "b": predictions(1).iloc[30:]}, common=True)


def test_the_same_path_of_two_sources_is_two_films() -> None:
    def doubled(seed: int) -> pd.DataFrame:
        table = predictions(seed)
        return pd.concat([table, table.assign(source="rsna", patient_id="r" + table["patient_id"])])

    assert compare_tables({"a": doubled(1), "b": doubled(2)})["n"] == 120
    with pytest.raises(ManifestError, match=r"'0\.png' stands there twice"):
        compare_tables({"a": doubled(1), "b": predictions(2).drop(columns="source")})


@pytest.mark.parametrize("column", ["label", "patient_id"])
def test_a_film_with_other_words_is_refused(column: str) -> None:
    tables = three()
    other = {"negative": "covid19", "covid19": "negative"}.get(str(tables["c"].loc[3, column]), "p77")
    tables["c"].loc[3, column] = other
    with pytest.raises(ManifestError, match=f"c: the film '3.png' has {column} '{other}' and in a "):
        compare_tables(tables)


def test_findings_are_compared_on_films_that_are_known() -> None:
    def findings(seed: int) -> pd.DataFrame:
        table = predictions(seed)
        edema = table["label"] == "covid19"
        words = np.where(edema, "Edema|Mass", "No Finding")
        words[0] = ""
        films = table[["path", "patient_id", "source"]]
        return films.assign(label="other", findings=words, prob_Edema=table["prob_covid19"], prob_Mass=0.5)

    found = compare_tables({"a": findings(1), "b": findings(2)}, "Edema")
    known = [table.iloc[1:] for table in (predictions(1), predictions(2))]
    assert found["n"] == 59 and found["positive"] == "Edema"
    assert [model["auroc"] for model in found["models"]] == [
        model["auroc"] for model in compare_tables({"a": known[0], "b": known[1]})["models"]
    ]


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UsageError, match="1 table"):
        compare_tables({"a": predictions(1)})
    with pytest.raises(UsageError, match="0 table"):
        compare_tables({})
    with pytest.raises(UsageError, match="a: 'flu' is no class"):
        compare_tables(three(), "flu")
    one_side = {name: table[table["label"] == "covid19"] for name, table in three().items()}
    with pytest.raises(UsageError, match="films are positive"):
        compare_tables(one_side)


def test_join_keeps_the_order_of_the_first() -> None:
    tables = three()
    tables["a"] = tables["a"].iloc[::-1].reset_index(drop=True)
    joined = join_tables(tables, "covid19")
    assert joined.paths[0] == "59.png"
    assert joined.scores[1, 0] == tables["b"]["prob_covid19"].iloc[59]


def test_calls_are_compared_where_all_tables_tell_them() -> None:
    tables = {
        name: table.assign(predicted=np.where(table["prob_covid19"] > 0.6, "covid19", "negative"))
        for name, table in three().items()
    }
    pair = compare_tables(tables)["pairs"][1]
    right = [(tables[name]["predicted"] == tables[name]["label"]).to_numpy() for name in ("a", "c")]
    expected = mcnemar(right[0], right[1], tables["a"]["patient_id"].to_numpy(), "mid-p")
    assert pair["mcnemar"] == expected.as_dict()
    assert expected.p_value is not None
    tables["b"] = tables["b"].drop(columns="predicted")
    assert all("mcnemar" not in pair for pair in compare_tables(tables)["pairs"])
