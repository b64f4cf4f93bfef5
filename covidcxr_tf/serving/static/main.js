// The page: which films there are, which one is shown, and what its controls do.

import { aboutModel, inTurn, onTokenWanted, readFilm, Refusal } from "./api.js";
import { COLOUR_MAPS, colourTable } from "./colours.js";
import { answerJson, filmsCsv, save, stem, viewPicture } from "./downloads.js";
import { bindGestures } from "./gestures.js";
import { decodePng, fromBase64 } from "./png.js";
import { barRows, cutOffSentence, element, factPairs, graveWarnings, headline, modelLine, warningItems } from "./results.js";
import { freshView, Viewer } from "./viewer.js";

const KEPT_DECODED = 6; // films whose pixels stay unpacked
const at = (id) => document.getElementById(id);
const NOTHING = {
  none: "The probabilities, the warnings and the heat map of a film are shown here.",
  waiting: "The answer comes when the film has been read.",
  bad: "There is no answer: the film was not read.",
};
const films = [];
const decoded = []; // the films unpacked, the oldest first
let chosen = null;
let limits = null;
let wish = null; // the class whose heat map was asked for by hand; null: each film's predicted one

const viewer = new Viewer(at("viewer"), showView);

/* ---- films come and go ---- */

function addFiles(files) {
  const added = [...files].map((file) => {
    const film = { file, state: "waiting", note: "waiting", answer: null, fault: null, view: freshView(), heats: new Map(), stop: new AbortController() };
    film.item = listItem(film);
    films.push(film);
    return film;
  });
  at("films").append(...added.map((film) => film.item));
  added.forEach(start);
  if (!chosen && added.length) choose(added[0]);
  showCount();
}

function listItem(film) {
  const thumb = element("canvas", { width: 88, height: 88, "aria-hidden": "true" });
  const button = element("button", { type: "button", class: "film" }, thumb,
    element("span", {}, element("span", { class: "title", title: film.file.name }, film.file.name), element("span", { class: "state" }, film.note)));
  button.addEventListener("click", () => choose(film));
  return element("li", {}, button);
}

async function start(film) {
  Object.assign(film, { state: "waiting", fault: null });
  note(film, "waiting");
  try {
    if (limits && film.file.size > limits.request_bytes) {
      throw new Refusal(`the file is too large: ${megabytes(film.file.size)}`, `at most ${megabytes(limits.request_bytes)}`);
    }
    const answer = await inTurn(() => {
      film.stop.signal.throwIfAborted();
      note(film, "reading …");
      return readFilm(film.file, { signal: film.stop.signal, tell: (words) => note(film, words) });
    });
    await keep(film, answer);
  } catch (fault) {
    if (fault.name === "AbortError") return;
    Object.assign(film, { state: "bad", fault });
    note(film, `Not read: ${fault.message}`);
    say(`${film.file.name} was not read: ${fault.message}`);
  }
  if (film === chosen) showChosen();
  showCount();
}

async function keep(film, answer) {
  film.png = fromBase64(answer.picture.png);
  keepHeat(film, answer.heatmap);
  answer.picture.png = null;
  film.answer = answer;
  await unpack(film);
  drawThumb(film);
  film.state = "done";
  note(film, headline(answer));
  const grave = graveWarnings(answer).length;
  say(`${film.file.name}: ${headline(answer)}. ${grave ? `Warnings: ${grave}.` : ""}`);
}

function keepHeat(film, heatmap) {
  if (!heatmap) return;
  film.heats.set(heatmap.class_index, { ...heatmap, png: fromBase64(heatmap.png) });
  heatmap.png = null;
}

/** Unpack a film's pixels; those of films looked at long ago are dropped, their PNG stays. */
async function unpack(film) {
  film.pixels ??= await decodePng(film.png);
  decoded.splice(0, decoded.length, ...decoded.filter((other) => other !== film), film);
  while (decoded.length > KEPT_DECODED) {
    const oldest = decoded.find((other) => other !== chosen);
    decoded.splice(decoded.indexOf(oldest), 1);
    oldest.pixels = null;
    for (const heat of oldest.heats.values()) heat.pixels = null;
  }
}

function remove(list) {
  for (const film of list) {
    film.stop.abort();
    film.item.remove();
    films.splice(films.indexOf(film), 1);
    if (decoded.includes(film)) decoded.splice(decoded.indexOf(film), 1);
  }
  choose(null);
  showCount();
}

/* ---- what is shown ---- */

function note(film, words) {
  film.note = words;
  const button = film.item.firstChild;
  button.querySelector(".state").textContent = words;
  button.classList.toggle("bad", film.state === "bad");
  button.classList.toggle("warned", film.state === "done" && graveWarnings(film.answer).length > 0);
  if (film === chosen) at("busy-text").textContent = words === "reading …" ? "Reading the film …" : words;
}

function showCount() {
  const open = films.filter((film) => film.state === "waiting").length;
  at("count").textContent = films.length ? (open ? `${films.length - open} of ${films.length} read` : String(films.length)) : "";
  at("all-films").hidden = films.length === 0;
  at("save-csv").disabled = !films.some((film) => film.state !== "waiting");
}

function choose(film) {
  chosen = film;
  for (const other of films) other.item.firstChild.setAttribute("aria-current", String(other === film));
  film?.item.scrollIntoView({ block: "nearest", inline: "nearest" });
  showChosen();
}

async function showChosen() {
  const film = chosen;
  const done = film?.state === "done";
  at("empty").hidden = Boolean(film);
  at("busy").hidden = film?.state !== "waiting";
  at("fault").hidden = film?.state !== "bad";
  for (const id of ["heat-set", "film-set", "save-set"]) at(id).disabled = !done;
  at("stage-title").textContent = film ? film.file.name : "No film yet";
  at("viewer").setAttribute("aria-label", `Film viewer, ${film ? film.file.name : "no film"}`);
  at("nothing").hidden = at("result").hidden = at("about").hidden = true;
  at(done ? "result" : "nothing").hidden = false;
  at("nothing").textContent = NOTHING[film?.state] ?? NOTHING.none;
  if (film?.state === "bad") showFault(film.fault);
  if (!done) {
    viewer.setFilm(null, freshView(), null);
    viewer.setHeat(null);
    at("legend").hidden = true;
    showView();
    return;
  }
  showAnswer(film.answer);
  await unpack(film);
  if (film !== chosen) return;
  viewer.setFilm(film.pixels, film.view, film.answer.lung_box);
  showView();
  await showHeat();
}

function showFault(fault) {
  at("fault-text").textContent = `${fault.message[0].toUpperCase()}${fault.message.slice(1)}.`;
  const help = [fault.expected && `Expected: ${fault.expected}.`, fault.remedy && `What to do: ${fault.remedy}.`];
  at("fault-help").textContent = help.filter(Boolean).join(" ");
  at("again").hidden = !fault.again;
}

function showAnswer(answer) {
  at("predicted").textContent = answer.predicted;
  at("warnings").replaceChildren(...warningItems(answer));
  at("bars").replaceChildren(...barRows(answer));
  at("cut-off").textContent = cutOffSentence(answer);
  at("about").hidden = false;
  at("facts").replaceChildren(...factPairs(answer).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  at("heat-class").replaceChildren(...answer.classes.map((name, index) =>
    element("option", { value: index }, index === answer.predicted_index ? `${name} (predicted)` : name)));
  at("heat-class").value = heatIndex(answer);
  at("heat-set").disabled = !answer.model.explains;
  at("lungs-on").disabled = !answer.lung_box;
}

/** The class whose heat map to show: the one asked for by hand, where this film's model has it. */
function heatIndex(answer) {
  const index = wish === null ? -1 : answer.classes.indexOf(wish);
  return index < 0 ? answer.predicted_index : index;
}

async function showHeat() {
  const film = chosen;
  const index = heatIndex(film.answer);
  if (!film.answer.model.explains) return;
  let heat = film.heats.get(index);
  if (!heat) {
    viewer.setHeat(null);
    at("heat-note").textContent = "Asking for the heat map of this class …";
    try {
      const answer = await inTurn(() => readFilm(film.file, { classIndex: index, picture: false, signal: film.stop.signal }), true);
      keepHeat(film, answer.heatmap);
      heat = film.heats.get(index);
    } catch (fault) {
      if (fault.name !== "AbortError" && film === chosen) at("heat-note").textContent = `No heat map: ${fault.message}.`;
      return;
    }
  }
  heat.pixels ??= await decodePng(heat.png);
  if (film !== chosen || index !== heatIndex(film.answer)) return;
  at("heat-note").textContent = heat.empty ? "It is empty: nothing on the film speaks for this class." : "Where this class was found, as a share of the largest value on this film.";
  viewer.setHeat(heat.empty ? null : heat.pixels);
  showLegend();
}

function showLegend() {
  const film = chosen;
  const heat = film?.state === "done" && viewer.heat && viewer.shown.heat;
  at("legend").hidden = !heat;
  if (!heat) return;
  at("legend-title").textContent = `Heat map: ${film.answer.classes[heatIndex(film.answer)]}`;
  const table = colourTable(viewer.shown.colours);
  const image = new ImageData(256, 1);
  for (let level = 0; level < 256; level += 1) image.data.set([...table.subarray(level * 3, level * 3 + 3), 255], level * 4);
  at("legend-bar").getContext("2d").putImageData(image, 0, 0);
}

function showView() {
  const { view, shown } = viewer;
  const percent = (share) => `${Math.round(share * 100)} %`;
  at("window").value = Math.round(view.window * 100);
  at("level").value = Math.round(view.level * 100);
  at("window-out").value = percent(view.window);
  at("level-out").value = percent(view.level);
  at("invert").checked = view.invert;
  at("opacity").value = Math.round(shown.opacity * 100);
  at("opacity-out").value = percent(shown.opacity);
  at("heat-on").checked = shown.heat;
  at("lungs-on").checked = shown.lungs;
  at("zoom").value = viewer.film ? `${view.zoom.toFixed(1)} ×` : "–";
  showCorner();
}

/** Window and level, and the place and grey value under the pointer. */
function showCorner(event) {
  const { view, film } = viewer;
  if (!film) {
    at("corner").textContent = "";
    return;
  }
  const [row, column] = event ? viewer.toFilm(event.offsetX, event.offsetY) : [-1, -1];
  const grey = viewer.greyAt(row, column);
  const { answer } = chosen;
  const place = grey === null ? "" : `row ${Math.floor(row * answer.rows)}, column ${Math.floor(column * answer.columns)}: ${Math.round(grey * 100)} %\n`;
  at("corner").textContent = `${place}window ${Math.round(view.window * 100)} %, level ${Math.round(view.level * 100)} %`;
}

function drawThumb(film) {
  const canvas = film.item.querySelector("canvas");
  const { rows, columns, top, levels } = film.pixels;
  const image = new ImageData(canvas.width, canvas.height);
  const step = Math.min(rows, columns) / canvas.width;
  for (let row = 0; row < canvas.height; row += 1) {
    for (let column = 0; column < canvas.width; column += 1) {
      const from = Math.floor((rows - canvas.height * step) / 2 + (row + 0.5) * step) * columns + Math.floor((columns - canvas.width * step) / 2 + (column + 0.5) * step);
      const grey = (255 * levels[from]) / top;
      image.data.set([grey, grey, grey, 255], (row * canvas.width + column) * 4);
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

let sayings = [];
/** Tell a screen reader; what comes within a moment is told together. */
function say(words) {
  sayings.push(words);
  if (sayings.length > 1) return;
  setTimeout(() => { at("live").textContent = sayings.join(" "); sayings = []; }, 250);
}

function megabytes(bytes) {
  return `${(bytes / 1048576).toFixed(bytes < 10485760 ? 1 : 0)} MiB`;
}

/* ---- controls ---- */

function show(change) {
  viewer.show(change);
  showView();
  showLegend();
}

function step(by) {
  const place = films.indexOf(chosen) + by;
  if (films[place]) choose(films[place]);
}

function on(id, kind, act) {
  at(id).addEventListener(kind, act);
}

on("files", "change", () => { addFiles(at("files").files); at("files").value = ""; });
on("clear", "click", () => { remove([...films]); at("files").focus(); });
on("again", "click", () => { const film = chosen; start(film); showChosen(); at("viewer").focus(); });
on("heat-on", "change", () => show({ heat: at("heat-on").checked }));
on("lungs-on", "change", () => show({ lungs: at("lungs-on").checked }));
on("opacity", "input", () => show({ opacity: at("opacity").value / 100 }));
on("colours", "change", () => show({ colours: at("colours").value }));
on("heat-class", "change", () => {
  const index = Number(at("heat-class").value);
  wish = index === chosen.answer.predicted_index ? null : chosen.answer.classes[index];
  showHeat();
});
on("window", "input", () => viewer.change({ window: at("window").value / 100 }));
on("level", "input", () => viewer.change({ level: at("level").value / 100 }));
on("invert", "change", () => viewer.change({ invert: at("invert").checked }));
on("auto", "click", () => viewer.autoWindow());
on("zoom-in", "click", () => viewer.zoomBy(1.25));
on("zoom-out", "click", () => viewer.zoomBy(0.8));
on("fit", "click", () => viewer.reset());
on("controls", "submit", (event) => event.preventDefault());
on("save-png", "click", async () => {
  const { answer } = chosen;
  save(`${stem(answer.name)}_view.png`, await viewPicture(viewer, answer, viewer.heat && answer.classes[heatIndex(answer)]));
});
on("save-json", "click", () => save(`${stem(chosen.answer.name)}.json`, answerJson(chosen.answer)));
on("save-csv", "click", () => save("films.csv", filmsCsv(films)));
on("films", "keydown", (event) => {
  const by = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  event.preventDefault();
  step(by);
  chosen.item.firstChild.focus();
});
on("viewer", "pointermove", showCorner);
on("viewer", "pointerleave", () => showCorner());
for (const choice of document.querySelectorAll("[name=drag]")) {
  choice.addEventListener("change", () => at("viewer").classList.toggle("pan", tool() === "pan"));
}
function tool() {
  return document.querySelector("[name=drag]:checked").value;
}

bindGestures(viewer, tool, {
  h: () => show({ heat: !viewer.shown.heat }),
  l: () => show({ lungs: !viewer.shown.lungs }),
  "[": () => show({ opacity: Math.max(0, viewer.shown.opacity - 0.1) }),
  "]": () => show({ opacity: Math.min(1, viewer.shown.opacity + 0.1) }),
  PageUp: () => step(-1),
  PageDown: () => step(1),
});

let inside = 0;
const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
function curtain(change) {
  inside = change === 0 ? 0 : Math.max(0, inside + change);
  at("curtain").hidden = inside === 0;
}
addEventListener("dragenter", (event) => { if (carriesFiles(event)) curtain(1); });
addEventListener("dragleave", (event) => { if (carriesFiles(event)) curtain(-1); });
addEventListener("dragover", (event) => { if (carriesFiles(event)) event.preventDefault(); });
addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  curtain(0);
  addFiles(event.dataTransfer.files);
});

at("colours").append(...COLOUR_MAPS.map((name) => element("option", { value: name }, name)));
onTokenWanted(() => new Promise((resolve) => {
  at("token-box").addEventListener("close", () => { resolve(at("token").value.trim()); at("token").value = ""; }, { once: true });
  at("token-box").showModal();
}));
aboutModel().then((model) => {
  limits = model.limits;
  at("model").replaceChildren(...modelLine(model));
}, (fault) => { at("model").textContent = `No model: ${fault.message}`; });
