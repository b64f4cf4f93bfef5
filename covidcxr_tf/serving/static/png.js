// Grey PNG of 8 or 16 bits to its levels. A browser's own decoder keeps 8 of the 16 bits that window and level need.

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

/** The bytes of a base64 string. */
export function fromBase64(text) {
  const packed = atob(text);
  const bytes = new Uint8Array(packed.length);
  for (let i = 0; i < packed.length; i += 1) bytes[i] = packed.charCodeAt(i);
  return bytes;
}

/** {rows, columns, top, levels}: levels row by row in a Uint8Array or Uint16Array, top the highest level there is. */
export async function decodePng(bytes) {
  const { rows, columns, depth, packed } = readChunks(bytes);
  const inflated = new Blob(packed).stream().pipeThrough(new DecompressionStream("deflate"));
  const lines = new Uint8Array(await new Response(inflated).arrayBuffer());
  const size = depth / 8;
  undoFilters(lines, rows, columns * size, size);
  return { rows, columns, top: 2 ** depth - 1, levels: gather(lines, rows, columns, size) };
}

function readChunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (SIGNATURE.some((value, place) => bytes[place] !== value)) throw new Error("not a PNG");
  const found = { packed: [] };
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (kind === "IHDR") {
      found.columns = view.getUint32(at + 8);
      found.rows = view.getUint32(at + 12);
      found.depth = bytes[at + 16];
      if (bytes[at + 17] !== 0 || found.depth < 8 || bytes[at + 20] !== 0) throw new Error("not a plain grey PNG");
    } else if (kind === "IDAT") {
      found.packed.push(bytes.subarray(at + 8, at + 8 + length));
    }
    at += length + 12;
  }
  return found;
}

// Each line begins with the number of its filter (PNG specification, section 9).
function undoFilters(lines, rows, width, size) {
  const stride = width + 1;
  for (let row = 0; row < rows; row += 1) {
    const start = row * stride + 1;
    const filter = lines[start - 1];
    for (let i = 0; i < width; i += 1) {
      const here = start + i;
      const left = i >= size ? lines[here - size] : 0;
      const above = row > 0 ? lines[here - stride] : 0;
      if (filter === 1) lines[here] += left;
      else if (filter === 2) lines[here] += above;
      else if (filter === 3) lines[here] += (left + above) >> 1;
      else if (filter === 4) lines[here] += paeth(left, above, row > 0 && i >= size ? lines[here - stride - size] : 0);
    }
  }
}

function paeth(left, above, corner) {
  const guess = left + above - corner;
  const toLeft = Math.abs(guess - left);
  const toAbove = Math.abs(guess - above);
  const toCorner = Math.abs(guess - corner);
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}

function gather(lines, rows, columns, size) {
  const levels = size === 2 ? new Uint16Array(rows * columns) : new Uint8Array(rows * columns);
  const stride = columns * size + 1;
  for (let row = 0; row < rows; row += 1) {
    const start = row * stride + 1;
    for (let column = 0; column < columns; column += 1) {
      const at = start + column * size;
      levels[row * columns + column] = size === 2 ? (lines[at] << 8) | lines[at + 1] : lines[at];
    }
  }
  return levels;
}
