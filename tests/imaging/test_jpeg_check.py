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


def walked(content):
    """Return where the coded pixels begin, and where the first refining scan of a progressive file or the end is."""
    at = start = content.index(b"\xff\xda")
    while at >= 0:
        parts = content[at + 4]
        if content[at + 4 + 2 * parts + 3] >> 4:
            return start + 14, at
        at = content.find(b"\xff\xda", at + 2)
    return start + 14, len(content)


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
    start, stop = walked(content)
    for keep in (0.02, 0.1, 0.5):
        cut = content[: start + int(keep * (stop - start))].rstrip(b"\xff")
        assert jpeg_fault(cut) is not None
    # With an end mark behind it, only the missing pixels tell.
    fault = jpeg_fault(content[: start + 50].rstrip(b"\xff") + b"\xff\xd9")
    assert fault == (
        "only 1 of 5 parts are there" if "restart_marker_blocks" in options else "its coded pixels break off"
    )
    assert jpeg_fault(content[:-2]) == "it ends before its end mark"


def test_coded_pixels_that_are_too_many():
    content = jpeg()
    assert jpeg_fault(content[:-2] + bytes(range(1, 30)) + b"\xff\xd9") == "29 bytes of its coded pixels are left over"
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
    start, stop = walked(content)
    random = np.random.default_rng(0)
    seen = 0
    for _ in range(50):
        broken = bytearray(content)
        at = int(random.integers(start, stop - 20))
        broken[at : at + 16] = random.integers(0, 255, 16, dtype=np.uint8).tobytes()
        seen += jpeg_fault(bytes(broken)) is not None
    assert seen >= 40


def test_many_scans_are_refused():
    content = jpeg(progressive=True)
    first = content.index(b"\xff\xda")
    second = content.index(b"\xff\xda", first + 2)
    scan = content[first:second]
    table = scan.find(b"\xff\xc4")
    scan = scan if table < 0 else scan[:table]
    assert jpeg_fault(content[:first] + scan * 101 + content[second:]) == "it has more than 100 scans"


def test_a_sampling_factor_of_0_is_a_fault():
    content = bytearray(jpeg())
    frame = content.index(b"\xff\xc0")
    content[frame + 11] = content[frame + 14] = content[frame + 17] = 0
    assert jpeg_fault(bytes(content)) == "its markers contradict each other"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_noise_never_throws(content, with_frame):
    head = jpeg(32, 32)[:630] if with_frame else b"\xff\xd8"
    fault = jpeg_fault(head + content)
    assert fault is None or isinstance(fault, str)
