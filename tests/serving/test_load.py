"""A thousand requests from sixteen clients: each good one answered as if it were alone, and no memory kept."""

from __future__ import annotations

import base64
import gc
import json
import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from covidcxr_tf.serving.http import build_app

REQUESTS, CLIENTS, FILMS = 1000, 16, 10
MAX_GROWTH = 32 * 1024 * 1024  # allocators keep some; the bodies of the good requests alone are 40 MB
PREDICT = "/v1/models/toy:predict"


def resident() -> int:
    """Return the bytes this process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def bodies(film_of: Callable[..., bytes]) -> tuple[list[bytes], list[tuple[bytes, int]]]:
    """Return good bodies, and bad ones with the status that each deserves."""
    films = [{"b64": base64.b64encode(film_of(seed, 200, 220)).decode()} for seed in range(FILMS)]
    good = [json.dumps({"instances": [film]}).encode() for film in films]
    good += [json.dumps({"instances": [films[0], {"b64": "YmFk"}, films[1]]}).encode()]
    bad = [
        (b"", 400),
        (good[0][:-5], 400),
        (b'{"instances": [{"b64": "%%%"}]}', 400),
        (b'{"signature_name": "nope", "instances": [{"b64": "YmFk"}]}', 400),
        (json.dumps({"instances": [{"b64": base64.b64encode(b"<svg/>").decode()}]}).encode(), 200),
        (json.dumps({"instances": [{"b64": base64.b64encode(film_of(1)[:200]).decode()}]}).encode(), 200),
    ]
    return good, bad


def test_good_requests_are_bit_equal_among_bad_ones_and_memory_stays(
    serving: tuple, listen: Callable[[Any], int], ask: Callable[..., Any], film_of: Callable[..., bytes]
) -> None:
    port = listen(build_app(*serving))
    good, bad = bodies(film_of)
    alone = [ask(port, "POST", PREDICT, body).body for body in good]
    assert len(set(alone)) == len(good)  # different films, different answers

    def one(number: int) -> str | None:
        if number % 3 == 0:
            body, status = bad[number // 3 % len(bad)]
            answer = ask(port, "POST", PREDICT, body)
            return None if answer.status == status else f"bad {number}: {answer.status} {answer.body[:200]!r}"
        answer = ask(port, "POST", PREDICT, good[number % len(good)])
        same = answer.status == 200 and answer.body == alone[number % len(good)]
        return None if same else f"good {number}: {answer.status} {answer.body[:200]!r}"

    def round_of(count: int) -> list[str]:
        with ThreadPoolExecutor(CLIENTS) as clients:
            return [fault for fault in clients.map(one, range(count)) if fault]

    assert round_of(200) == []  # fills the caches and pools
    gc.collect()
    before = resident()
    assert round_of(REQUESTS) == []
    gc.collect()
    assert resident() - before < MAX_GROWTH
    assert serving[0].in_queue == 0


def test_versions_that_come_and_go_leave_no_memory(toy_export: Path, tmp_path: Path) -> None:
    from covidcxr_tf.serving.servable import Servable

    def load_and_close() -> None:
        servable = Servable.load(toy_export / "1")
        servable.run(None, {"image_bytes": np.array([b"bad"], dtype=object)})
        servable.close()

    for _ in range(5):
        load_and_close()
    gc.collect()
    before = resident()
    for _ in range(20):
        load_and_close()
    gc.collect()
    assert resident() - before < MAX_GROWTH
