"""Broken and foreign files: each is a film or an ImageError with file and reason, within bounds, without noise."""

from __future__ import annotations

import io
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from covidcxr_tf.errors import ImageError
from covidcxr_tf.imaging.pieces import check_jpeg_header, check_pieces
from covidcxr_tf.imaging.reading import read_image


def test_mutants_by_seed(hostile: ModuleType, reader: Any) -> None:
    files = [(one.name, None, one.content) for one in hostile.mutants(201, seed=1)]
    counted = hostile.tally("mutants", files, reader)
    assert not counted.faults
    assert counted.films > 20 and counted.refusals > 100 and counted.films + counted.refusals == 201


def test_the_same_seed_gives_the_same_mutants(hostile: ModuleType) -> None:
    first, again, other = (list(hostile.mutants(30, seed=seed)) for seed in (4, 4, 5))
    assert first == again and first != other
    by_kind = [one for kind in ("PNG", "JPEG", "DICOM") for one in hostile.mutants(30, seed=4, only=kind)]
    assert sorted(by_kind) == sorted(first)


def test_pydicoms_own_files(hostile: ModuleType, reader: Any) -> None:
    files = [path for path in hostile.pydicom_files() if "data_store" not in path.parts]
    counted = hostile.tally("pydicom", [(str(path), path, None) for path in files], reader)
    assert counted.files > 150 and counted.films > 10 and counted.refusals > 100
    assert not counted.faults


@pytest.mark.slow
def test_the_whole_corpus(hostile: ModuleType, tmp_path: Any, own_cache: Any) -> None:
    done = hostile.all_sets(2000, 0, own_cache / "hostile", lambda line: print(line, file=sys.stderr))
    print(hostile.table(done))
    assert [one.faults for one in done if one.faults] == []
    assert sum(one.files for one in done) > 2500
    missing = [one.skipped for one in done if one.skipped]
    if missing:
        pytest.skip(missing[0])


def test_a_fault_would_be_counted(hostile: ModuleType) -> None:
    counted = hostile.Tally("made up")
    fine = {"kind": "film", "detail": "", "seconds": 0.1, "mb": 3.0, "lines": []}
    for name, changed in {
        "crash": {"kind": "crash", "detail": "KeyError: 1"},
        "slow": {"seconds": 2.5},
        "large": {"mb": 601.0},
        "loud": {"lines": ["warning"] * 4},
        "fine": {},
    }.items():
        counted.add(name, fine | changed)
    assert [name for name, _ in counted.faults] == ["crash", "slow", "large", "loud"]
    assert (counted.files, counted.films, counted.crashes, counted.over) == (5, 4, 1, 3)
    assert "| all | 5 | 4 | 0 | 1 | 3 | 4 | 2.50 | 601 |" in hostile.table([counted])


def test_a_hang_and_a_dead_process_are_counted(hostile: ModuleType, tmp_path: Any, monkeypatch: Any) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import os, sys\nprint('ready', flush=True)\nline = sys.stdin.readline()\n"
        "os._exit(3) if 'dies' in line else None\nwhile True: pass\n"
    )
    monkeypatch.setattr(hostile, "WORKER", worker)
    with hostile.Reader(hang_s=0.5) as process:
        hung = process.read("hangs", None, b"")
        died = process.read("dies", None, b"")
    assert (hung["kind"], hung["detail"]) == ("crash", "hung for 0.5 s")
    assert (died["kind"], died["detail"]) == ("crash", "the process died (3)")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("PNG, 100 Mpx of RGB", "of PNG in RGB are too many; expected at most 66666666 of this kind"),
        ("PNG, 100 Mpx of RGBA, 16 bits", "too many; expected at most 18750000"),
        ("GIF, 96 px on 100 Mpx", "of GIF in P are too many"),
        ("WebP, 16,383 x 6,000 black", "of WEBP in RGB are too many"),
        ("PNG, 300,000 empty chunks", "a PNG of more than 200000 chunks"),
        ("JPEG, 300,000 comments", "a JPEG of more than 200000 segments"),
        ("JPEG, 10 MB of fill bytes", "stray bytes in its header"),
        ("DICOM, 500,000 elements", "too many elements"),
        ("DICOM, sequences 50,000 deep", "RecursionError"),
        ("DICOM, 512 MB deflated", "inflates to more than 268435456 bytes"),
        ("DICOM, RLELossless of 96 px that says 100 Mpx", "damaged"),
        ("DICOM, JPEG2000Lossless of 96 px that says 100 Mpx", "the JPEG 2000 stream is 96x96"),
    ],
)
def test_small_files_that_ask_for_much(name: str, said: str, small_bombs: dict[str, bytes], reader: Any) -> None:
    answer = reader.read(name, None, small_bombs[name])
    assert answer["kind"] == "refused" and said in answer["detail"], answer
    assert answer["seconds"] < 4 and answer["mb"] < 600


@pytest.fixture(scope="module")
def small_bombs(hostile: ModuleType) -> dict[str, bytes]:
    return dict(hostile.bombs())


def test_a_deflated_data_set_that_hides_its_syntax(hostile: ModuleType, small_bombs: dict[str, bytes]) -> None:
    """The length of the meta information says that it ends before the transfer syntax; pydicom does not mind."""
    content = bytearray(small_bombs["DICOM, 512 MB deflated"])
    content[140:144] = (4).to_bytes(4, "little")
    with pytest.raises(ImageError, match="meta information states a wrong length"):
        read_image(bytes(content))


def test_pieces_are_counted_up_to_the_pixels() -> None:
    plain = b"\xff\xd8" + b"\xff\xfe\x00\x02" * 10 + b"\xff" * 100 + b"\xda" + b"\xff" * 200_000
    check_jpeg_header(plain, "film.jpg")
    check_pieces(io.BytesIO(plain), "film.jpg")
    with pytest.raises(ImageError, match=r"film\.jpg: a JPEG with 70000 stray bytes"):
        check_jpeg_header(b"\xff\xd8" + bytes(70_000) + plain[2:], "film.jpg")


MAGIC = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"II*\0",
    b"MM\0*",
    b"GIF89a",
    b"BM",
    b"RIFF\x10\0\0\0WEBP",
    b"\x08\0\x05\0",
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(magic=st.sampled_from((*MAGIC, b"\0" * 128 + b"DICM")), body=st.binary(max_size=600))
def test_whatever_follows_a_magic_number(magic: bytes, body: bytes) -> None:
    _film_or_refusal(magic + body)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_edits_of_whole_files(seed_files: list[bytes], data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(seed_files)))
    edits = st.tuples(st.integers(0, len(content) - 1), st.binary(min_size=1, max_size=8))
    for at, piece in data.draw(st.lists(edits, max_size=6)):
        content[at : at + len(piece)] = piece
    _film_or_refusal(bytes(content[: data.draw(st.integers(1, len(content)))]))


@pytest.fixture(scope="module")
def seed_files(hostile: ModuleType) -> list[bytes]:
    from hostile_mutants import seeds

    return [content for files in seeds().values() for _, content in files]


def _film_or_refusal(content: bytes) -> None:
    try:
        film = read_image(content, name="film")
    except ImageError as fault:
        assert fault.where == "film" and fault.problem
    else:
        assert film.dtype == np.float32 and film.ndim == 2
        assert np.isfinite(film).all() and film.min() >= 0 and film.max() <= 1
