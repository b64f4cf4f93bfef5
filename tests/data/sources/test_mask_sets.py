"""montgomery, shenzhen, jsrt: films with lung masks, in parts or raw, up to the written manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidcxr_tf.data.manifest import load_manifest
from covidcxr_tf.data.sources import jsrt, montgomery, shenzhen
from covidcxr_tf.data.sources.common import picture_size
from covidcxr_tf.data.sources.derived import read_raw_film, write_mask
from covidcxr_tf.data.sources.importing import import_films
from covidcxr_tf.data.sources.nlm import parse_reading
from covidcxr_tf.errors import ImageError, UsageError

Draw = Callable[..., Path]
Note = Callable[..., Path]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Patient's Sex: F \nPatient's Age: 027Y\nnormal\n", ("F", 27.0, "normal")),
        (
            "Patient's Sex: M\nPatient's Age: 060Y\nLeft upper lobe infiltrate.\nActive TB.",
            ("M", 60.0, "Left upper lobe infiltrate. Active TB."),
        ),
        ("male 45yrs\nnormal\n", ("M", 45.0, "normal")),
        ("Female, 21yrs\nright PTB", ("F", 21.0, "right PTB")),
        ("femal 32yrs\nnormal", ("F", 32.0, "normal")),
        ("male 16month\nnormal", ("M", 1.33, "normal")),
        ("female 64days\nnormal", ("F", 0.18, "normal")),
        ("", ("", None, "")),
    ],
)
def test_parse_reading(text: str, expected: tuple[str, float | None, str]) -> None:
    assert tuple(parse_reading(text)) == expected


def _montgomery(draw: Draw, note: Note) -> None:
    left, right = np.zeros((4, 6), np.uint8), np.zeros((4, 6), np.uint8)
    left[1:3, 4], right[0:2, 1] = 255, 255
    for name in ("MCUCXR_0001_0", "MCUCXR_0104_1"):
        draw(f"set/CXR_png/{name}.png", (4, 6))
        draw(f"set/ManualMask/leftMask/{name}.png", pixels=left)
        draw(f"set/ManualMask/rightMask/{name}.png", pixels=right)
    draw("set/CXR_png/MCUCXR_0105_1.png", (4, 6))
    draw("set/ManualMask/rightMask/MCUCXR_0105_1.png", pixels=right)  # half a pair is no mask
    note("set/ClinicalReadings/MCUCXR_0001_0.txt", "Patient's Sex: F\nPatient's Age: 027Y\nnormal\n")


def test_montgomery_reads_without_writing(tmp_path: Path, draw: Draw, note: Note) -> None:
    _montgomery(draw, note)
    before = sorted(tmp_path.rglob("*"))
    films = montgomery.read(tmp_path / "set")
    assert films["path"].tolist() == [f"CXR_png/MCUCXR_{name}.png" for name in ("0001_0", "0104_1", "0105_1")]
    assert films["label"].tolist() == ["normal", "tuberculosis", "tuberculosis"]
    assert films["patient_id"].tolist() == [f"montgomery_MCUCXR_{name}" for name in ("0001", "0104", "0105")]
    assert films["age"].tolist() == [27.0, "", ""]
    assert set(films["view"]) == {"PA"}
    assert films["mask_parts"].tolist()[1:] == [
        "ManualMask/leftMask/MCUCXR_0104_1.png|ManualMask/rightMask/MCUCXR_0104_1.png",
        "",
    ]
    assert any("no ClinicalReadings" in text for text in films.attrs["notes"])
    assert sorted(tmp_path.rglob("*")) == before


def test_montgomery_masks_are_merged_inside_the_root(tmp_path: Path, draw: Draw, note: Note) -> None:
    _montgomery(draw, note)
    done = import_films("montgomery", tmp_path / "set", tmp_path / "tb.csv")
    assert not done.needs_root
    films = load_manifest(tmp_path / "tb.csv")
    assert films["path"][0] == "set/CXR_png/MCUCXR_0001_0.png"
    assert films["mask_path"].tolist()[1:] == ["tb_files/masks/set/CXR_png/MCUCXR_0104_1.png", ""]
    assert "mask_parts" not in films.columns
    mask = np.asarray(Image.open(tmp_path / films["mask_path"][0]))
    expected = np.zeros((4, 6), np.uint8)
    expected[1:3, 4], expected[0:2, 1] = 255, 255
    np.testing.assert_array_equal(mask, expected)
    # what was written is no part of the set when a folder around it is read again
    assert len(montgomery.read(tmp_path)) == 3


def test_derived_files_need_a_place_inside_the_root(tmp_path: Path, draw: Draw, note: Note) -> None:
    _montgomery(draw, note)
    out = tmp_path / "elsewhere" / "tb.csv"
    with pytest.raises(UsageError, match="must lie inside the manifest's root"):
        import_films("montgomery", tmp_path / "set", out)
    assert not out.parent.exists()
    done = import_films("montgomery", tmp_path / "set", out, root=tmp_path)
    assert done.needs_root and done.derived == tmp_path / "elsewhere" / "tb_files"
    films = load_manifest(out, root=tmp_path)
    assert (tmp_path / films["mask_path"][0]).is_file()
    inside = import_films("montgomery", tmp_path / "set", out, root=tmp_path / "set")
    assert inside.derived == tmp_path / "set" / "tb_files"
    assert load_manifest(out, root=tmp_path / "set")["mask_path"][0] == "tb_files/masks/CXR_png/MCUCXR_0001_0.png"


def test_shenzhen(tmp_path: Path, draw: Draw, note: Note) -> None:
    for name in ("CHNCXR_0001_0", "CHNCXR_0327_1", "CHNCXR_0328_1"):
        draw(f"CXR_png/{name}.png", (4, 6))
    draw("mask/mask/CHNCXR_0001_0_mask.png", (4, 6))
    draw("mask/mask/CHNCXR_0327_1_mask.png", (2, 3))
    note("ClinicalReadings/CHNCXR_0001_0.txt", "male 45yrs\nnormal\n")
    note("ClinicalReadings/CHNCXR_0327_1.txt", "Female, 21yrs\nbilateral PTB\n")
    films = shenzhen.read(tmp_path)
    assert films["label"].tolist() == ["normal", "tuberculosis", "tuberculosis"]
    assert films["sex"].tolist() == ["M", "F", ""]
    assert films["original_finding"].tolist() == ["normal", "bilateral PTB", "1"]
    assert films["mask_path"].tolist() == ["mask/mask/CHNCXR_0001_0_mask.png", "", ""]
    assert films["mask_parts"].tolist() == ["", "mask/mask/CHNCXR_0327_1_mask.png", ""]
    import_films("shenzhen", tmp_path, tmp_path / "m.csv")
    paths = load_manifest(tmp_path / "m.csv")["mask_path"]
    assert picture_size(tmp_path / paths[1]) == (4, 6)


def _raw(path: Path, densities: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(densities.astype(">u2").tobytes())


def test_jsrt(tmp_path: Path, draw: Draw, note: Note) -> None:
    densities = np.full((2048, 2048), 4095)
    densities[10, 20], densities[11, 20], densities[12, 20] = 0, 1000, 5000
    _raw(tmp_path / "set/All247images/JPCLN001.IMG", densities)
    draw("set/png/JPCLN001.png")  # a conversion: the raw film is taken
    draw("set/png/JPCNN010.png", (8, 8))
    left, right = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    left[0, 3], right[2, 0] = 255, 255
    for stem, fold in (("JPCLN001", "fold1"), ("JPCNN010", "fold2")):
        for name, pixels in (("left lung", left), ("right lung", right), ("heart", left | right)):
            draw(f"set/scratch/{fold}/masks/{name}/{stem}.gif", pixels=pixels)
    note(
        "set/Clinical_Information/CLNDAT_EN.txt",
        "JPCLN001.IMG\t5\t15\t53\tMale\t1634\t692\tmalignant\tl.upper lobe\tlung cancer\n",
        encoding="latin-1",
    )
    note("set/Clinical_Information/CNNDAT_EN.TXT", "JPCNN010.IMG\t54\tfemale\tnon-nodule\nJPCNN011.IMG\t?\tmale\tx\n")

    films = jsrt.read(tmp_path / "set")
    assert films["path"].tolist() == ["All247images/JPCLN001.IMG", "png/JPCNN010.png"]
    assert films["label"].tolist() == ["other", "normal"]
    assert films["age"].tolist() == [53.0, 54.0] and films["sex"].tolist() == ["M", "F"]
    assert films["original_finding"].tolist() == ["malignant, l.upper lobe, lung cancer", "non-nodule"]

    import_films("jsrt", tmp_path / "set", tmp_path / "jsrt.csv")
    films = load_manifest(tmp_path / "jsrt.csv")
    assert films["path"].tolist() == ["jsrt_files/films/set/All247images/JPCLN001.png", "set/png/JPCNN010.png"]
    film = np.asarray(Image.open(tmp_path / films["path"][0]))
    assert film.shape == (2048, 2048) and film.dtype == np.uint16
    # density 0 is the whitest: 4095 -> 65535; 1000 -> 3095 * 65535 / 4095 = 49531.36...; over 12 bits is black
    assert film[10, 20] == 65535 and film[11, 20] == 49531 and film[12, 20] == 0 and film[0, 0] == 0
    lungs = np.asarray(Image.open(tmp_path / films["mask_path"][0]))
    assert lungs.shape == (2048, 2048)
    np.testing.assert_array_equal(lungs[::512, ::512], left | right)
    heart = np.asarray(Image.open(tmp_path / films["heart_mask_path"][1]))
    np.testing.assert_array_equal(heart[::2, ::2], left | right)


def test_a_raw_film_of_the_wrong_length(tmp_path: Path) -> None:
    (tmp_path / "x.IMG").write_bytes(b"\0" * 100)
    with pytest.raises(ImageError, match="100 bytes; expected 8388608 bytes"):
        read_raw_film(tmp_path / "x.IMG")


def test_an_unreadable_mask_leaves_no_file(tmp_path: Path, note: Note) -> None:
    part = note("m.png", "not a picture")
    with pytest.raises(ImageError, match=r"m\.png: not readable"):
        write_mask([part], tmp_path / "out" / "m.png", (4, 4))
    assert not (tmp_path / "out").exists()
