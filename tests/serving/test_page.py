"""The page in headless Chromium: what a person with a mouse, with keys alone, or with a screen reader meets."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image

from covidcxr_tf.data.synthetic import make_film
from covidcxr_tf.imaging.reading import encode_png16, read_image
from covidcxr_tf.serving.http import build_app
from covidcxr_tf.serving.limits import Limits
from covidcxr_tf.serving.work import Worker

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SIDE = 256
HOT = {0: (0.375, 0.375), 1: (0.625, 0.625)}  # row and column of a class's heat, as shares of the film
CONTROLS = ("button", "checkbox", "combobox", "link", "radio", "slider", "textbox", "application", "spinbutton")


SIGNATURES = dict.fromkeys(("serving_default", "explain"))
CARD = {
    "classes": ["normal", "covid19"],
    "positive": "covid19",
    "threshold": 0.25,
    "model_sha256": "f" * 64,
    "arch": "toy",
    "lung_model": {"name": "lung_unet"},
}


class Seer:
    """A servable: covid19 is as probable as the film is bright, and lies in the lower right of the lungs."""

    name, version = "seer", 7
    signatures = SIGNATURES
    card = CARD

    def run(self, signature: str, inputs: dict[str, np.ndarray], *, timeout_s: float) -> dict[str, np.ndarray]:
        film = read_image(inputs["image_bytes"][0])
        bright = float(film.mean())
        heat = np.zeros((8, 8), np.float32)
        if "class_index" in inputs:
            place = (5, 5) if inputs["class_index"][0] else (2, 2)
            heat[place[0] : place[0] + 1, place[1] : place[1] + 1] = 1
        return {
            "probabilities": np.array([[1 - bright, bright]], np.float32),
            "classes": np.array([[b"normal", b"covid19"]], object),
            "status": np.array([2 if bright < 0.1 else 0], np.int32),
            "lung_box": np.array([[0.0, 0.0, 1.0, 1.0] if bright < 0.1 else [0.1, 0.1, 0.9, 0.9]], np.float32),
            "lung_quality": np.array([0.9], np.float32),
            "ood_score": np.array([-1.0], np.float32),
            "heatmap": heat[None],
        }


class Only:
    """Versions of which there is one."""

    name = Seer.name
    ready = True

    @contextlib.contextmanager
    def lease(self, version: int | None = None, label: str | None = None) -> Iterator[Seer]:
        yield Seer()

    def statuses(self) -> list[Any]:
        return []


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    versions: Any = Only()
    worker = Worker(versions, threads=2)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(build_app(worker, versions, Limits()), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    server.should_exit = True
    thread.join()
    worker.close()
    listening.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("no Chromium: sudo apt-get install chromium")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """Give the page at desktop size; any script error or request to elsewhere fails the test."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda fault: faults.append(str(fault)))
    opened.on("console", lambda line: faults.append(line.text) if "Content Security" in line.text else None)
    context.on(
        "request", lambda asked: None if asked.url.startswith((address, "data:", "blob:")) else faults.append(asked.url)
    )
    opened.set_default_timeout(20_000)
    opened.goto(address)
    yield opened
    context.close()
    assert not faults


@pytest.fixture(scope="module")
def film() -> np.ndarray:
    return make_film("covid19", "demo-north", seed=3, size=SIDE).film


def given(name: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def until(page: Any, condition: str) -> None:
    """Wait for a condition; playwright's own `wait_for_function` needs eval, which the page's policy forbids."""
    page.evaluate(
        f"""async () => {{ const end = Date.now() + 20000;
        while (!({condition})) {{
          if (Date.now() > end) throw new Error('never came');
          await new Promise(done => setTimeout(done, 30));
        }} }}"""
    )


def upload(page: Any, *files: dict[str, Any]) -> None:
    page.set_input_files("#files", list(files))
    page.locator("#films li").nth(-1).wait_for()
    until(
        page,
        "document.querySelectorAll('#films .state').values().every(s => !/waiting|reading|busy/.test(s.textContent))",
    )


def drop(page: Any, *files: dict[str, Any]) -> None:
    carried = page.evaluate_handle(
        """files => { const t = new DataTransfer();
        for (const f of files) t.items.add(new File([new Uint8Array(f.bytes)], f.name)); return t; }""",
        [{"name": file["name"], "bytes": list(file["buffer"])} for file in files],
    )
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event("body", event, {"dataTransfer": carried})


def colour(page: Any, row: float, column: float) -> list[int]:
    """Return red, green, blue of the canvas at a share of the film, which is shown whole and square."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.evaluate(
        """([row, column]) => { const c = document.getElementById('viewer'); const side = Math.min(c.width, c.height);
        const x = c.width / 2 + (column - .5) * side, y = c.height / 2 + (row - .5) * side;
        return [...c.getContext('2d').getImageData(Math.round(x), Math.round(y), 1, 1).data.slice(0, 3)]; }""",
        [row, column],
    )


def tinted(colours: list[int]) -> bool:
    return max(colours) - min(colours) > 25


def set_range(page: Any, name: str, value: int) -> None:
    page.locator(name).evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }", value
    )


def test_a_chosen_film_shows_numbers_film_and_heat(page: Any, film: np.ndarray) -> None:
    upload(page, given("film.png", encode_png16(film)))
    bright = float(film.mean())
    assert page.locator("#predicted").inner_text() == "covid19"
    rows = page.locator("#bars tr")
    assert [rows.nth(n).locator("td.number").inner_text() for n in range(2)] == [f"{1 - bright:.3f}", f"{bright:.3f}"]
    assert "covid19 from 0.250" in page.locator("#cut-off").inner_text()
    mark = rows.nth(1).locator(".mark").evaluate("m => m.offsetLeft / m.parentNode.clientWidth")
    assert mark == pytest.approx(0.25, abs=0.01)
    fill = rows.nth(1).locator(".fill").evaluate("m => m.clientWidth / m.parentNode.clientWidth")
    assert fill == pytest.approx(bright, abs=0.01)
    assert tinted(colour(page, *HOT[1]))
    assert not tinted(colour(page, *HOT[0]))
    assert page.locator("#legend").is_visible()
    until(page, "document.getElementById('live').textContent.includes('film.png: covid19')")


def test_opacity_class_and_switch_change_the_heat(page: Any, film: np.ndarray) -> None:
    upload(page, given("film.png", encode_png16(film)))
    seen = {}
    for opacity in (0, 40, 100):
        set_range(page, "#opacity", opacity)
        seen[opacity] = colour(page, *HOT[1])
    assert not tinted(seen[0])
    assert np.ptp(seen[40]) < np.ptp(seen[100])
    page.select_option("#heat-class", "0")
    until(page, "document.getElementById('legend-title').textContent.endsWith('normal')")
    assert tinted(colour(page, *HOT[0]))
    assert not tinted(colour(page, *HOT[1]))
    page.uncheck("#heat-on")
    assert not tinted(colour(page, *HOT[0]))
    assert page.locator("#legend").is_hidden()


def test_the_lung_box_is_drawn_and_can_be_hidden(page: Any, film: np.ndarray) -> None:
    upload(page, given("film.png", encode_png16(film)))
    page.uncheck("#heat-on")
    edge = [colour(page, 0.1, share) for share in np.linspace(0.2, 0.8, 40)]
    assert any(tinted(one) for one in edge)
    page.uncheck("#lungs-on")
    assert not any(tinted(colour(page, 0.1, share)) for share in np.linspace(0.2, 0.8, 40))


def test_the_canvas_shows_the_grey_values_of_the_film(page: Any, film: np.ndarray) -> None:
    smooth = np.tile(np.linspace(0.2, 0.8, SIDE, dtype=np.float32), (SIDE, 1))
    upload(page, given("ramp.png", encode_png16(smooth)))
    page.uncheck("#heat-on")
    page.uncheck("#lungs-on")
    assert colour(page, 0.5, 0.5) == pytest.approx([127.5] * 3, abs=2)
    set_range(page, "#window", 20)
    assert colour(page, 0.5, 0.5 + 0.05 / 0.6) == pytest.approx([255 * 0.75] * 3, abs=4)
    page.check("#invert")
    assert colour(page, 0.5, 0.5 + 0.05 / 0.6) == pytest.approx([255 * 0.25] * 3, abs=4)
    page.click("#fit")
    assert colour(page, 0.5, 0.5) == pytest.approx([127.5] * 3, abs=2)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", ["noise", "ramp"])
def test_the_page_decodes_each_grey_value_exactly(page: Any, bits: int, kind: str) -> None:
    noise = np.random.default_rng(bits).integers(0, 1 << bits, (37, 53))
    ramp = np.add.outer(np.arange(37) * 3, np.arange(53) * 2) * (1 if bits == 8 else 250)
    levels = (noise if kind == "noise" else ramp).astype(np.uint8 if bits == 8 else np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, format="PNG")
    decoded = page.evaluate(
        """async bytes => { const { decodePng } = await import('/static/png.js');
        const p = await decodePng(new Uint8Array(bytes)); return [p.rows, p.columns, p.top, [...p.levels]]; }""",
        list(buffer.getvalue()),
    )
    assert decoded == [37, 53, (1 << bits) - 1, levels.ravel().tolist()]


def test_films_dropped_together_stand_beside_one_that_fails(page: Any, film: np.ndarray) -> None:
    drop(
        page,
        given("bad.txt", b"not a film"),
        given("good.png", encode_png16(film)),
        given("dark.png", encode_png16(film * 0.1)),
    )
    until(page, "document.getElementById('count').textContent === '3'")
    states = page.locator("#films .state").all_inner_texts()
    assert "holds no picture" in states[0]
    assert states[1].startswith("covid19 0.")
    assert states[2].startswith("normal 0.")
    assert page.locator("#fault").is_visible()  # the first one is chosen
    assert "DICOM" in page.locator("#fault-help").inner_text()
    assert page.locator("#again").is_hidden()  # the same bytes would fail again
    page.locator("#films button").nth(2).click()
    assert page.locator("#fault").is_hidden()
    assert page.locator("[data-code=lungs_not_found]").is_visible()
    assert page.locator("[data-code=not_a_diagnosis]").is_visible()
    assert page.locator("#lungs-on").is_disabled()


def test_a_dicom_film(page: Any, film: np.ndarray, tmp_path: Path) -> None:
    upload(page, given("1.2.840.5", dicom_of(film)))
    assert page.locator("#predicted").inner_text() == "covid19"
    assert f"{SIDE} × {SIDE} px" in page.locator("#facts").inner_text()
    page.uncheck("#heat-on")
    level = colour(page, 0.3, 0.6)[0] / 255
    assert level == pytest.approx(film[int(0.3 * SIDE), int(0.6 * SIDE)], abs=0.1)


def dicom_of(film: np.ndarray) -> bytes:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    scan = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    scan.SOPClassUID, scan.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    scan.Modality, scan.ViewPosition, scan.PhotometricInterpretation = "DX", "PA", "MONOCHROME2"
    scan.Rows, scan.Columns = film.shape
    scan.SamplesPerPixel, scan.BitsAllocated, scan.BitsStored, scan.HighBit = 1, 16, 12, 11
    scan.PixelRepresentation = 0
    scan.PixelData = np.rint(film * 4095).astype("<u2").tobytes()
    buffer = io.BytesIO()
    scan.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_with_keys_alone(page: Any, film: np.ndarray) -> None:
    # Listening turns on the interception of the chooser; turned on with the key press, it may come after it.
    page.on("filechooser", lambda chooser: None)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files([given("film.png", encode_png16(film))])
    page.wait_for_selector("#result:not([hidden])")
    reached: list[str] = []
    while (here := page.evaluate("document.activeElement.id || document.activeElement.name")) != "auto":
        assert len(reached) < 40, reached
        if here:
            reached.append(here)
        page.keyboard.press("Tab")
    wanted = [
        "drag",
        "zoom-out",
        "zoom-in",
        "fit",
        "viewer",
        "save-png",
        "save-json",
        "heat-on",
        "heat-class",
        "opacity",
    ]
    assert [name for name in reached if name in wanted] == wanted
    page.focus("#viewer")
    until(page, "document.getElementById('heat-on').checked")
    assert tinted(colour(page, *HOT[1]))
    page.keyboard.press("h")
    assert not tinted(colour(page, *HOT[1]))
    page.keyboard.press("Shift+ArrowLeft")
    assert page.locator("#window").input_value() == "98"
    page.keyboard.press("Shift+ArrowUp")
    assert page.locator("#level").input_value() == "48"
    page.keyboard.press("+")
    assert page.locator("#zoom").inner_text().startswith("1.3")
    page.keyboard.press("0")
    assert page.locator("#zoom").inner_text().startswith("1.0")
    assert page.locator("#window").input_value() == "100"
    page.focus("#opacity")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#opacity-out").inner_text() == "59 %"


def test_mouse_window_level_zoom_and_move(page: Any, film: np.ndarray) -> None:
    upload(page, given("film.png", encode_png16(film)))
    box = page.locator("#viewer").bounding_box()
    row, column = box["y"] + box["height"] / 2, box["x"] + box["width"] / 2

    def drag(across: int, down: int) -> None:
        page.mouse.move(column, row)
        page.mouse.down()
        page.mouse.move(column + across, row + down)
        page.mouse.up()

    drag(-100, 50)
    assert page.locator("#window").input_value() == "80"
    assert page.locator("#level").input_value() == "60"
    page.mouse.move(column, row)
    page.mouse.wheel(0, -300)
    until(page, "parseFloat(document.getElementById('zoom').value) > 1.2")
    before = colour(page, 0.5, 0.5)
    page.locator("[name=drag][value=pan]").check(force=True)
    drag(150, 90)
    assert page.locator("#window").input_value() == "80"
    assert colour(page, 0.5, 0.5) != before


def test_downloads(page: Any, film: np.ndarray) -> None:
    upload(page, given("=SUM(1).png", encode_png16(film)), given("bad, really.txt", b"x"))
    taken = {}
    for name in ("save-png", "save-json", "save-csv"):
        with page.expect_download() as download:
            page.click(f"#{name}")
        taken[name] = Path(download.value.path()).read_bytes()
    view = np.asarray(Image.open(io.BytesIO(taken["save-png"])).convert("RGB"))
    size = page.evaluate("[document.getElementById('viewer').height, document.getElementById('viewer').width]")
    assert view.shape == (size[0] + 64, size[1], 3)
    assert (np.abs(view[size[0] :].astype(int) - (255, 210, 122)).sum(-1) < 30).any()  # the amber words
    answer = json.loads(taken["save-json"])
    assert answer["probabilities"][1] == pytest.approx(float(film.mean()), abs=1e-4)
    assert "Not for diagnosis" in answer["use"]
    rows = list(csv.DictReader(io.StringIO(taken["save-csv"].decode())))
    assert rows[0]["name"] == "'=SUM(1).png"  # never a formula
    assert float(rows[0]["prob_covid19"]) == answer["probabilities"][1]
    assert rows[1]["name"] == "bad, really.txt"
    assert "holds no picture" in rows[1]["error"]


def test_a_busy_server_is_asked_again(page: Any, film: np.ndarray) -> None:
    busy = [1, 1]

    def answer(route: Any) -> None:
        if route.request.method == "POST" and busy and busy.pop():
            route.fulfill(status=429, headers={"Retry-After": "1"}, json={"error": "busy"})
        else:
            route.continue_()

    page.route("**/films", answer)
    page.set_input_files("#files", [given("film.png", encode_png16(film))])
    until(page, "/busy/.test(document.querySelector('#films .state')?.textContent)")
    until(page, "/covid19/.test(document.querySelector('#films .state').textContent)")
    assert not busy


def test_a_server_that_is_gone_can_be_asked_again(page: Any, film: np.ndarray) -> None:
    page.route("**/films", lambda route: route.abort())
    upload(page, given("film.png", encode_png16(film)))
    assert "does not answer" in page.locator("#fault-text").inner_text()
    page.unroute("**/films")
    page.click("#again")
    page.wait_for_selector("#result:not([hidden])")
    assert page.locator("#predicted").inner_text() == "covid19"


def test_no_more_than_two_requests_at_once(page: Any, film: np.ndarray) -> None:
    open_now: set[Any] = set()
    most: list[int] = []

    def begun(asked: Any) -> None:
        if asked.method == "POST":
            open_now.add(asked)
            most.append(len(open_now))

    page.on("request", begun)
    for event in ("requestfinished", "requestfailed"):
        page.on(event, lambda asked: open_now.discard(asked))
    upload(page, *(given(f"{n}.png", encode_png16(film)) for n in range(6)))
    until(page, "document.getElementById('count').textContent === '6'")
    assert len(most) == 6
    assert max(most) == 2


def test_each_control_has_a_name_and_each_id_is_one(page: Any, film: np.ndarray) -> None:
    upload(page, given("film.png", encode_png16(film)))
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    controls = [node for node in nodes if node["role"]["value"] in CONTROLS and not node["ignored"]]
    assert len(controls) >= 18
    nameless = [node["role"]["value"] for node in controls if not node.get("name", {}).get("value", "").strip()]
    assert not nameless
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.locator("h1").count() == page.locator("main").count() == 1
    assert page.locator("#live").get_attribute("aria-live") == "polite"
    assert page.get_by_text("Research tool, not for diagnosis.").is_visible()


CONTRAST = """() => {
  const parse = text => { const v = text.match(/[\\d.]+/g).map(Number); return v.length === 4 ? v : [...v, 1]; };
  const linear = v => v / 255 <= .03928 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
  const light = c => .2126 * linear(c[0]) + .7152 * linear(c[1]) + .0722 * linear(c[2]);
  const ground = e => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c[3] > .8) return c;
    }
    return [11, 14, 18];
  };
  const low = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest(':disabled') || e.closest('.unseen')) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) low.push([e.id || e.className || e.tagName, ratio]);
  }
  return low;
}"""


@pytest.mark.parametrize(("width", "height"), [(1400, 900), (390, 844), (320, 568)])
def test_text_has_contrast_and_nothing_runs_out_of_the_page(
    page: Any, film: np.ndarray, width: int, height: int
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    upload(page, given("a_rather_long_name_of_a_film_that_must_be_cut.png", encode_png16(film)), given("b.txt", b"x"))
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#films button").nth(1).click()
    assert page.evaluate(CONTRAST) == []


def test_focus_is_seen_and_motion_can_be_off(page: Any) -> None:
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    outline = page.locator(".choose").evaluate("e => getComputedStyle(e).outlineStyle")
    assert outline == "solid"  # the label stands for the file input, which is not seen
    page.emulate_media(reduced_motion="reduce")
    assert page.locator(".turn").evaluate("e => getComputedStyle(e).animationName") == "none"


def test_the_page_asks_no_other_server_and_may_not(page: Any, address: str) -> None:
    policy = page.request.get(address).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe" not in policy
