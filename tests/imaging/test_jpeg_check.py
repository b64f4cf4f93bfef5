import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from covidcxr_tf.imaging.jpeg_check import jpeg_fault


def jpeg(rows=64, columns=80, colour=True, seed=0, **options):
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    (image if colour else image.convert("L")).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@settings(max_examples=80, deadline=None)
@given(
    rows=st.integers(1, 70),
    columns=st.integers(1, 70),
    colour=st.booleans(),
    seed=st.integers(0, 1000),
    quality=st.integers(1, 100),
    progressive=st.booleans(),
    subsampling=st.sampled_from([0, 1, 2]),
    restart=st.sampled_from([0, 1, 3]),
    optimize=st.booleans(),
)
def test_whole_files_of_every_kind_have_no_fault(rows, columns, colour, seed, restart, **options):
    if not colour:
        del options["subsampling"]
    if restart:
        options["restart_marker_blocks"] = restart
    assert jpeg_fault(jpeg(rows, columns, colour, seed, **options)) is None


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}, {"subsampling": 0}])
def test_coded_pixels_that_are_missing(options):
    content = jpeg(**options)
    start = content.index(b"\xff\xda") + 14
    for keep in (0.1, 0.5, 0.9):
        cut = content[: start + int(keep * (len(content) - start))].rstrip(b"\xff") + b"\xff\xd9"
        # A progressive file that is cut between two scans is whole, only coarser; these cuts lie inside one.
        assert jpeg_fault(cut) is not None


def test_coded_pixels_that_are_too_many():
    content = jpeg()
    assert jpeg_fault(content[:-2] + bytes(range(1, 30)) + b"\xff\xd9") == "29 bytes of coded pixels are left over"
    # Bytes behind the end of the picture are none of its.
    assert jpeg_fault(content + bytes(range(1, 30))) is None


def test_restart_markers_that_are_missing():
    content = jpeg(restart_marker_blocks=4)
    at = content.index(b"\xff\xd2")
    # 80x64 pixels with 16x16 units are 5 x 4 = 20 units, in fours 5 parts.
    assert jpeg_fault(content[:at] + content[at + 2 :]) == "only 4 of 5 parts are there"


@pytest.mark.parametrize("progressive", [False, True])
def test_overwritten_bytes_are_nearly_always_seen(progressive):
    content = jpeg(96, 96, progressive=progressive, quality=90)
    start = content.index(b"\xff\xda") + 14
    # In a progressive file the last, refining scans are not walked.
    reach = start + (len(content) - start) // (2 if progressive else 1) - 20
    random = np.random.default_rng(0)
    seen = 0
    for _ in range(50):
        broken = bytearray(content)
        at = int(random.integers(start, reach))
        broken[at : at + 16] = random.integers(0, 255, 16, dtype=np.uint8).tobytes()
        seen += jpeg_fault(bytes(broken)) is not None
    assert seen >= 45


def test_many_scans_are_refused():
    content = jpeg(progressive=True)
    first = content.index(b"\xff\xda")
    second = content.index(b"\xff\xda", first + 2)
    scan = content[first:second]
    table = scan.find(b"\xff\xc4")
    scan = scan if table < 0 else scan[:table]
    assert jpeg_fault(content[:first] + scan * 101 + content[second:]) == "it has more than 100 scans"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_noise_never_throws(content, with_frame):
    head = jpeg(32, 32)[:630] if with_frame else b"\xff\xd8"
    fault = jpeg_fault(head + content)
    assert fault is None or isinstance(fault, str)
