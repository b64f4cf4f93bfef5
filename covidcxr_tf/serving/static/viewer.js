// The film on a canvas: window and level, zoom and move, heat map and lung box. Rows and columns count film pixels.

import { colourTable, cover } from "./colours.js";

const LARGEST_ZOOM = 24;
const LUNGS = "#5ee0c0";

/** How a film is looked at, before anything is changed. `window` and `level` are shares of the whole range. */
export const freshView = () => ({ window: 1, level: 0.5, invert: false, zoom: 1, row: 0.5, column: 0.5 });

export class Viewer {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.film = null;
    this.heat = null;
    this.box = null;
    this.view = freshView();
    this.shown = { heat: true, opacity: 0.6, colours: "inferno", lungs: true };
    this.planned = 0;
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  /** Show a film ({rows, columns, top, levels} or null), its view, and its lung box as fractions. */
  setFilm(film, view, box) {
    if (film !== this.film) this.grey = null;
    Object.assign(this, { film, view, box });
    this.draw();
  }

  /** Show a heat map of the same kind, or none. */
  setHeat(heat) {
    if (heat !== this.heat) this.coloured = null;
    this.heat = heat;
    this.draw();
  }

  change(view) {
    if (!this.film) return;
    if ("window" in view || "level" in view || "invert" in view) this.grey = null;
    Object.assign(this.view, view);
    this.view.window = clip(this.view.window, 0.01, 1);
    this.view.level = clip(this.view.level, 0, 1);
    this.view.row = clip(this.view.row, 0, 1);
    this.view.column = clip(this.view.column, 0, 1);
    this.changed();
    this.draw();
  }

  show(shown) {
    if ("colours" in shown) this.coloured = null;
    Object.assign(this.shown, shown);
    this.draw();
  }

  /** Stretch the grey range between the 1st and the 99th percentile. */
  autoWindow() {
    if (!this.film) return;
    const { levels, top } = this.film;
    const sample = levels.filter((_, place) => place % 7 === 0).sort();
    const at = (share) => sample[Math.round(share * (sample.length - 1))] / top;
    const low = at(0.01), high = at(0.99);
    this.change({ window: high - low, level: (high + low) / 2 });
  }

  reset() {
    this.change(freshView());
  }

  /** Zoom by a factor; what lies under (x, y) of the canvas stays there. */
  zoomBy(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    if (!this.film) return;
    const zoom = clip(this.view.zoom * factor, 1, LARGEST_ZOOM);
    const [row, column] = this.toFilm(x, y);
    const kept = this.view.zoom / zoom;
    this.change({ zoom, row: row + (this.view.row - row) * kept, column: column + (this.view.column - column) * kept });
    if (zoom === 1) this.change({ row: 0.5, column: 0.5 });
  }

  /** Move the film by so many pixels of the page. */
  moveBy(across, down) {
    if (!this.film) return;
    const scale = this.scale();
    this.change({ column: this.view.column - across / (scale * this.film.columns), row: this.view.row - down / (scale * this.film.rows) });
  }

  /** Pixels of the page per pixel of the film. */
  scale() {
    const { clientWidth, clientHeight } = this.canvas;
    return Math.min(clientWidth / this.film.columns, clientHeight / this.film.rows) * this.view.zoom;
  }

  /** [row, column] as shares of the film under a place of the canvas. */
  toFilm(x, y) {
    const scale = this.scale();
    return [
      this.view.row + (y - this.canvas.clientHeight / 2) / (scale * this.film.rows),
      this.view.column + (x - this.canvas.clientWidth / 2) / (scale * this.film.columns),
    ];
  }

  /** Grey value in [0, 1] at a share of rows and columns, or null outside of the film. */
  greyAt(row, column) {
    if (!this.film || row < 0 || column < 0 || row >= 1 || column >= 1) return null;
    const { rows, columns, top, levels } = this.film;
    return levels[Math.floor(row * rows) * columns + Math.floor(column * columns)] / top;
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    this.paint(this.canvas);
  }

  /** Paint soon: many changes before the next picture of the screen cost one. */
  draw() {
    this.planned ||= requestAnimationFrame(() => { this.planned = 0; this.paint(this.canvas); });
  }

  /** Paint the view as it is now into a canvas of the viewer's size. */
  paint(canvas) {
    const pen = canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.film || !this.canvas.clientWidth) return;
    const ratio = this.canvas.width / this.canvas.clientWidth;
    const scale = this.scale() * ratio;
    const width = this.film.columns * scale, height = this.film.rows * scale;
    const left = this.canvas.width / 2 - this.view.column * width, top = this.canvas.height / 2 - this.view.row * height;
    pen.imageSmoothingEnabled = scale < 4;
    pen.imageSmoothingQuality = "high";
    this.grey ??= this.greyPicture();
    pen.drawImage(this.grey, left, top, width, height);
    this.paintHeat(pen, left, top, width, height);
    if (this.box && this.shown.lungs) outline(pen, this.box, left, top, width, height, ratio);
  }

  paintHeat(pen, left, top, width, height) {
    if (!this.heat || !this.shown.heat || this.shown.opacity === 0) return;
    this.coloured ??= this.heatPicture();
    pen.imageSmoothingEnabled = true;
    pen.globalAlpha = this.shown.opacity;
    pen.drawImage(this.coloured, left, top, width, height);
    pen.globalAlpha = 1;
  }

  greyPicture() {
    const { rows, columns, top, levels } = this.film;
    const { window: width, level, invert } = this.view;
    const table = new Uint8ClampedArray(top + 1);
    for (let value = 0; value <= top; value += 1) {
      const share = clip((value / top - level) / width + 0.5, 0, 1);
      table[value] = 255 * (invert ? 1 - share : share);
    }
    return picture(rows, columns, (pixels) => {
      for (let place = 0; place < levels.length; place += 1) {
        const grey = table[levels[place]];
        pixels[place] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
      }
    });
  }

  heatPicture() {
    const { rows, columns, levels } = this.heat;
    const colours = colourTable(this.shown.colours);
    const table = new Uint32Array(256);
    for (let level = 0; level < 256; level += 1) {
      const [red, green, blue] = colours.subarray(level * 3, level * 3 + 3);
      table[level] = (Math.round(255 * cover(level)) << 24) | (blue << 16) | (green << 8) | red;
    }
    return picture(rows, columns, (pixels) => { for (let place = 0; place < levels.length; place += 1) pixels[place] = table[levels[place]]; });
  }
}

// Every machine that runs a browser keeps the least byte first: a pixel is 0xAABBGGRR.
function picture(rows, columns, fill) {
  const canvas = new OffscreenCanvas(columns, rows);
  const image = new ImageData(columns, rows);
  fill(new Uint32Array(image.data.buffer));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function outline(pen, [first, leftmost, last, rightmost], left, top, width, height, ratio) {
  const place = [left + leftmost * width, top + first * height, (rightmost - leftmost) * width, (last - first) * height];
  pen.lineWidth = 4 * ratio;
  pen.strokeStyle = "#000a";
  pen.setLineDash([]);
  pen.strokeRect(...place);
  pen.lineWidth = 2 * ratio;
  pen.strokeStyle = LUNGS;
  pen.setLineDash([9 * ratio, 6 * ratio]);
  pen.strokeRect(...place);
  pen.setLineDash([]);
}

export function clip(value, low, high) {
  return Math.min(high, Math.max(low, value));
}
