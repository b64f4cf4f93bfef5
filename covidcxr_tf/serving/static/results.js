// The numbers of one film as text, bars and warnings; everything is written as text, never as markup.

const NOTES = ["no_heat", "not_a_diagnosis"]; // said, but no reason to doubt the numbers

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "use"));
  svg.firstChild.setAttribute("href", name);
  return svg;
}

/** A probability with three decimals, never rounded to a certainty that it is not. */
export function number(value) {
  if (value > 0 && value < 0.001) return "< 0.001";
  if (value < 1 && value > 0.999) return "> 0.999";
  return value.toFixed(3);
}

/** Predicted class and its probability in one line. */
export function headline(answer) {
  return `${answer.predicted} ${number(answer.probabilities[answer.predicted_index])}`;
}

/** Warnings that are a reason to doubt the numbers. */
export function graveWarnings(answer) {
  return answer.warnings.filter((warning) => !NOTES.includes(warning.code));
}

/** One row of the table for each class, the cut-off marked where it counts. */
export function barRows(answer) {
  return answer.classes.map((name, index) => {
    const value = answer.probabilities[index];
    const fill = element("div", { class: "fill" });
    fill.style.width = `${100 * value}%`;
    const track = element("div", { class: "track", "aria-hidden": "true" }, fill);
    if (answer.threshold !== null && name === answer.positive) {
      const mark = element("div", { class: "mark" });
      mark.style.left = `${100 * answer.threshold}%`;
      track.append(mark);
    }
    const row = element("tr", { class: index === answer.predicted_index ? "chosen" : null },
      element("th", { scope: "row" }, name), element("td", { class: "number" }, number(value)));
    row.append(element("td", { class: "track-cell", "aria-hidden": "true" }, track));
    return row;
  });
}

export function cutOffSentence(answer) {
  if (answer.threshold === null || answer.positive === null) return "";
  return `The white mark is the cut-off: ${answer.positive} from ${number(answer.threshold)}.`;
}

export function warningItems(answer) {
  return answer.warnings.map(({ code, text }) => {
    const note = NOTES.includes(code);
    return element("li", { class: note ? "note" : null, "data-code": code }, icon(note ? "#i-info" : "#i-warn"), element("span", {}, text));
  });
}

/** Pairs of a name and a value about film and model. */
export function factPairs(answer) {
  const { model } = answer;
  const share = (value) => (value === null ? "not told by this model" : value.toFixed(2));
  const lungs = answer.lung_box ? "found" : model.finds_lungs ? "not found" : "not looked for by this model";
  return [
    ["Size", `${answer.columns} × ${answer.rows} px`],
    ["Lungs", lungs],
    ["Lung quality", share(answer.lung_quality)],
    ["Unlike training films", share(answer.ood_score)],
    ["Model", `${model.name}, version ${model.version}`],
    ["Model’s SHA-256", model.sha256 ? model.sha256.slice(0, 12) : "not in its card"],
    ["Time", `${answer.seconds.reading.toFixed(2)} s reading, ${answer.seconds.model.toFixed(2)} s model`],
  ];
}

export function modelLine(model) {
  const cutOff = model.threshold !== null && model.positive ? ` · cut-off ${number(model.threshold)} for ${model.positive}` : "";
  const classes = model.classes.length > 4 ? `${model.classes.length} classes` : model.classes.join(", ");
  return [element("b", {}, model.name), ` version ${model.version} · ${classes}${cutOff}`];
}
