// What can be taken away: the view as a picture, the answer as JSON, all films as CSV.

import { colourTable } from "./colours.js";
import { headline } from "./results.js";

const FOOT = 64;
export const WORDS = "Research only. Not for diagnosis.";

export function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 30000);
}

export function stem(name) {
  return name.replace(/\.[^.]*$/, "") || name;
}

/** The view as seen, with a strip below it that says what it is. */
export function viewPicture(viewer, answer, heatClass) {
  const ratio = viewer.canvas.width / viewer.canvas.clientWidth;
  const canvas = new OffscreenCanvas(viewer.canvas.width, viewer.canvas.height + Math.round(FOOT * ratio));
  viewer.paint(canvas);
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, viewer.canvas.height);
  const width = viewer.canvas.clientWidth;
  pen.fillStyle = "#12171e";
  pen.fillRect(0, 0, width, FOOT);
  const legend = heatClass && viewer.shown.heat ? drawLegend(pen, width, heatClass, viewer.shown.colours) : 0;
  const line = (text, font, colour, down) => {
    pen.font = font;
    pen.fillStyle = colour;
    pen.fillText(fitted(pen, text, width - legend - 28), 14, down);
  };
  const { model } = answer;
  line(WORDS, "600 14px system-ui, sans-serif", "#ffd27a", 18);
  line(`${answer.name}: ${headline(answer)}`, "14px system-ui, sans-serif", "#e8edf3", 37);
  line(`${model.name} version ${model.version}${model.sha256 ? `, ${model.sha256.slice(0, 12)}` : ""} · ${answer.time}`, "12px system-ui, sans-serif", "#a3b1c0", 54);
  return canvas.convertToBlob({ type: "image/png" });
}

function drawLegend(pen, width, heatClass, colours) {
  const long = Math.min(180, width / 3), left = width - long - 14;
  const table = colourTable(colours);
  for (let step = 0; step < 256; step += 1) {
    pen.fillStyle = `rgb(${table.subarray(step * 3, step * 3 + 3).join(" ")})`;
    pen.fillRect(left + (step * long) / 256, 26, long / 256 + 0.6, 9);
  }
  pen.fillStyle = "#e8edf3";
  pen.font = "12px system-ui, sans-serif";
  pen.fillText(fitted(pen, `Heat map: ${heatClass}`, long), left, 18);
  pen.fillStyle = "#a3b1c0";
  pen.fillText("none", left, 51);
  pen.fillText("most", left + long - pen.measureText("most").width, 51);
  return long + 14;
}

function fitted(pen, text, width) {
  let short = text;
  while (short.length > 1 && pen.measureText(short).width > width) short = `${short.slice(0, -2)}…`;
  return short;
}

/** The answer without its pictures. */
export function answerJson(answer) {
  const { picture, heatmap, ...rest } = answer;
  const facts = heatmap && { class: heatmap.class, class_index: heatmap.class_index, empty: heatmap.empty };
  return new Blob([`${JSON.stringify({ ...rest, heatmap: facts, use: WORDS }, null, 2)}\n`], { type: "application/json" });
}

/** One line for each film, also for those that were not read. */
export function filmsCsv(films) {
  const classes = [...new Set(films.flatMap((film) => film.answer?.classes ?? []))];
  const head = ["name", "predicted", ...classes.map((name) => `prob_${name}`), "positive", "threshold", "status", "lung_quality", "ood_score",
    "lung_top", "lung_left", "lung_bottom", "lung_right", "rows", "columns", "warnings", "error", "model", "version", "model_sha256", "time", "use"];
  const lines = films.map(({ file, answer, fault }) => {
    if (!answer) return { name: file.name, error: fault ? fault.message : "not read yet", use: WORDS };
    const [top, left, bottom, right] = answer.lung_box ?? [];
    const probabilities = Object.fromEntries(answer.classes.map((name, index) => [`prob_${name}`, answer.probabilities[index]]));
    return { ...answer, ...probabilities, name: file.name, lung_top: top, lung_left: left, lung_bottom: bottom, lung_right: right,
      warnings: answer.warnings.map((warning) => warning.code).join("|"), error: "", model: answer.model.name, version: answer.model.version,
      model_sha256: answer.model.sha256, use: WORDS };
  });
  const rows = [head, ...lines.map((line) => head.map((name) => line[name]))];
  return new Blob([rows.map((row) => row.map(cell).join(",")).join("\r\n"), "\r\n"], { type: "text/csv;charset=utf-8" });
}

// A spreadsheet would run a file's name that begins with one of these signs as a formula.
function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
