"""Numbers typed a second time from the papers' texts, apart from the files."""

from __future__ import annotations

import pytest

from covidcxr_tf.papers.facts import load_paper

RETYPED = [
    # key, id, as printed, unit, n, sign, place
    ("covid_cxnet", "table1.covid19.covid19", "27", "films", 60, "", "Table 1, row 2, column 2"),
    ("covid_cxnet", "table4.cap.normal", "205", "films", 1540, "", "Table 4, row 2, column 1"),
    ("covid_cxnet", "table5.normal.cp", "3", "films", 1540, "", "Table 5, row 1, column 3"),
    ("covid_cxnet", "table6.cxnet_v2.accuracy", "98.62", "%", None, "", "Table 6, row 4, columns Accuracy Score"),
    ("covid_cxnet", "table6.base_v2.epochs", "120", "epochs", None, "", "Table 6, row 2, column Num Epochs"),
    ("covid_cxnet", "table7.khan.f_score", "0.9560", "1", None, "", "Table 7, row 3, column CP Class F-score"),
    ("covid_cxnet", "section5_1.base_v2.auc", "0.9984", "1", 683, "", "Section 5.1"),
    ("covid_cxnet", "section4_3.layers", "431", "layers", None, "", "Section 4.3"),
    ("resnet101_1500", "abstract.parameters", "44000000", "parameters", None, ">", "Abstract"),
    ("resnet101_1500", "section3.d1_mild", "107", "films", None, "", "Section 3"),
    ("resnet101_1500", "table1.conv4.filters3", "1024", "filters", None, "", "Table 1, row 4, column Building block"),
    ("resnet101_1500", "table4.scenario2.train.d3", "27", "films", None, "", "Table 4, row 2, column Train D3"),
    ("resnet101_1500", "table6.other.covid19", "56", "%", 200, "", "Table 6, row 3, column 1"),
    ("resnet101_1500", "table8.cutoff90.covid19", "84", "%", 183, "", "Table 8, row 2, column 1"),
    ("resnet101_1500", "table9.normal.other", "17", "%", 5118, "", "Table 9, row 2, column 3"),
    ("resnet101_1500", "table10.hall.sensitivity", "83", "%", None, "", "Table 10, row 8, column Sensitivity"),
    ("resnet101_1500", "section2_2.lung_share", "29.8", "%", None, "≈", "Section 2.2"),
    ("densenet121_phased", "table1.hernia.ours", "0.867", "1", 25596, "", "Table 1, row 4, column Our method"),
    ("densenet121_phased", "table1.nodule.yao", "0.724", "1", None, "", "Table 1, row 12, column Yao et al."),
    ("densenet121_phased", "table2.path_b.train_films", "95919", "films", None, "", "Table 2, row 3, column Total"),
    ("densenet121_phased", "table2.path_e.auroc", "0.635", "1", None, "", "Table 2, row 4, column Pneumonia AUROC"),
    ("densenet121_phased", "table3.path_e.auroc", "0.765", "1", 218, "", "Table 3, row 5"),
    ("densenet121_phased", "table4.path_b_f.p", "0.027", "1", 218, "", "Table 4, row 1, column Path (b)"),
    ("densenet121_phased", "table5.path_a_e.p", "0.495", "1", 218, "", "Table 5, row 2, column Path (a)"),
    ("densenet121_phased", "section2_1.normalise_films", "16384", "films", None, "", "Section 2.1"),
    ("densenet121_phased", "section3_4.patient191.output", "5.5", "%", 1, "", "Section 3.4"),
    ("vgg16_pcxr", "table1.viral.bacterial", "20", "films", 513, "", "Table 1, row 3, column 4"),
    ("vgg16_pcxr", "table1.covid19.normal", "6", "films", 513, "", "Table 1, row 2, column 1"),
    ("vgg16_pcxr", "table2.bacterial.precision", "0.75", "1", 513, "", "Table 2, row 4, column Precision"),
    ("vgg16_pcxr", "results.whole.auc", "0.84", "1", None, "", "Section Results"),
    ("vgg16_pcxr", "abstract.segmented.auc", "0.89", "1", None, "", "Abstract"),
    ("vgg16_pcxr", "methods.download_images", "673", "images", None, "", "Section Materials and Methods, Data sources"),
    ("vgg16_pcxr", "methods.unet_iou", "0.956", "1", None, "", "Section Materials and Methods, CNN"),
    ("vgg16_pcxr", "discussion.elaziz.accuracy1", "96.09", "%", None, "", "Section Discussion"),
    ("patch_resnet18", "section4a.jaccard_original", "0.932", "1", 138, "", "Section IV-A"),
    ("patch_resnet18", "section4c1.mean.tuberculosis.p", "0.01", "1", None, "<", "Section IV-C.1"),
    ("patch_resnet18", "section4c3.ctr.bacterial.p", "0.05", "1", None, "<", "Section IV-C.3"),
    ("patch_resnet18", "section4c3.mean.viral.p", "0.05", "1", None, ">", "Section IV-C.3"),
    ("patch_resnet18", "section4d.sensitivity_covid19_viral", "92.5", "%", None, "", "Section IV-D"),
    ("patch_resnet18", "section5d.covid_net_parameters", "116600000", "parameters", None, "", "Section V-D"),
    ("patch_resnet18", "section5f3.mask_only_sensitivity", "86.9", "%", None, "", "Section V-F.3"),
    ("patch_resnet18", "section2b.learning_rate", "0.00001", "1", None, "", "Section II-B"),
    ("patch_resnet18", "section3a3.rsna_patients", "13645", "patients", None, "", "Section III-A.3"),
]


@pytest.mark.parametrize(
    ("key", "fact_id", "printed", "unit", "n", "sign", "place"), RETYPED, ids=[f"{row[0]}-{row[1]}" for row in RETYPED]
)
def test_a_number_typed_again(
    key: str, fact_id: str, printed: str, unit: str, n: int | None, sign: str, place: str
) -> None:
    fact = load_paper(key).fact(fact_id)
    assert (fact.printed, fact.unit, fact.n, fact.sign) == (printed, unit, n, sign)
    assert fact.locator.startswith(place)


@pytest.mark.parametrize(
    ("key", "fact_id", "interval"),
    [
        ("covid_cxnet", "table6.base_v1.accuracy", (91.40, 97.10)),
        ("covid_cxnet", "table6.flat.accuracy", (80.25, 84.86)),
        ("densenet121_phased", "table3.path_c.auroc", (0.794, 0.907)),
        ("densenet121_phased", "table3.path_d.auroc", (0.735, 0.876)),
        ("densenet121_phased", "table3.path_f.auroc", (0.683, 0.831)),
    ],
)
def test_an_interval_typed_again(key: str, fact_id: str, interval: tuple[float, float]) -> None:
    assert load_paper(key).fact(fact_id).ci95 == interval


@pytest.mark.parametrize(
    ("key", "year", "doi", "results"),
    [
        # Results: confusion cells, scores of the running text, of the tables.
        ("covid_cxnet", 2020, "", 12 + 18 + 5 + 2 + 2 + 6 + 12 + 1 + 2),
        ("resnet101_1500", 2021, "10.1117/1.JMI.8.S1.014001", 3 + 1 + 6 + 2 + 6 + 9 + 4 + 1 + 4 + 9 + 3 + 1 + 3 + 3),
        ("densenet121_phased", 2021, "", 2 + 15 + 4 + 6 + 15 + 15 + 2),
        ("vgg16_pcxr", 2020, "", 8 + 2 + 1 + 8 + 4 + 16 + 12),
    ],
)
def test_every_printed_result_is_there(key: str, year: int, doi: str, results: int) -> None:
    paper = load_paper(key)
    assert (paper.year, paper.doi) == (year, doi)
    assert len(paper.of_role("result")) == results


def test_whole_tables_of_resnet101_typed_again() -> None:
    paper = load_paper("resnet101_1500")
    again = {
        "table5": "97 3 2 98 85 15",
        "table6": "83 17 0 100 56 44",
        "table7": "73 27 7 93",
        "table8": "50 93 7 90 84 16",
        "table9": "80 0 20 0 83 17 3 0 97",
        "section3_2": "73 93 147 40 100 73 0 100 34",
    }
    for table, numbers in again.items():
        assert " ".join(fact.printed for fact in paper.facts if fact.id.startswith(f"{table}.")) == numbers


def test_whole_tables_of_densenet121_typed_again() -> None:
    paper = load_paper("densenet121_phased")
    by_path = {"a": "0.849", "b": "0.857", "c": "0.851", "d": "0.806", "e": "0.765", "f": "0.757"}
    for path, auroc in by_path.items():
        assert paper.fact(f"table3.path_{path}.auroc").printed == auroc
    findings = "0.868 0.924 0.834 0.867 0.865 0.828 0.819 0.813 0.761 0.739 0.766 0.777 0.722 0.696 0.806"
    assert " ".join(f.printed for f in paper.of_role("result") if f.id.startswith("table1.")) == findings
    columns = {"a": "0.747 0.960 0.224 0.033 0.047", "b": "0.818 0.159 0.025 0.027", "c": "0.176 0.025 0.034"}
    columns |= {"d": "0.392 0.300", "e": "0.851"}
    for path, numbers in columns.items():
        others = "abcdef"["abcdef".index(path) + 1 :]
        assert " ".join(paper.fact(f"table4.path_{path}_{other}.p").printed for other in others) == numbers


def test_results_of_patch_resnet18_typed_again() -> None:
    paper = load_paper("patch_resnet18")
    again = {
        "section4a.": "0.932 0.943 < 0.001",
        "section4c1.": "< 0.001 < 0.001 < 0.01",
        "section4c2.": " ".join(["< 0.001"] * 6),
        "section4c3.ctr.": "< 0.001 < 0.001 < 0.05 > 0.05",
        "section4c3.inter_patch.": "< 0.001 < 0.001 < 0.001",
        "section4c3.intra_patch.": "> 0.05",
        "section4c3.mean.": "> 0.05",
        "section4c3.std.": "> 0.05",
        "section4d.": "92.5",
        "section5d.": "91.9",
        "section5f2.": "50",
        "section5f3.": "7 13 2 3.5 5 2.5 0 86.9",
    }
    results = paper.of_role("result")
    for start, numbers in again.items():
        shown = (f"{fact.sign} {fact.printed}".strip() for fact in results if fact.id.startswith(start))
        assert " ".join(shown) == numbers, start
    assert all(fact.id.startswith(tuple(again)) for fact in results)
