// Mouse, fingers and keys on the film.

const WINDOW_PIXELS = 500; // a drag of so many changes window or level by the whole range
const KEY_STEP = 0.02;
const KEY_MOVE = 40;

/** Bind them; `tool()` says what a plain drag does, `commands` has a function for each key that is not about the view. */
export function bindGestures(viewer, tool, commands) {
  const canvas = viewer.canvas;
  const held = new Map();
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    viewer.zoomBy(Math.exp(-clipped(event.deltaY * (event.deltaMode ? 30 : 1), 120) / 300), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    held.set(event.pointerId, { x: event.offsetX, y: event.offsetY, moves: event.button > 0 || event.shiftKey });
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId);
    if (!before) return;
    const now = { ...before, x: event.offsetX, y: event.offsetY };
    if (held.size === 2) pinch(viewer, held, event.pointerId, now);
    else drag(viewer, before, now, now.moves || tool() === "pan");
    held.set(event.pointerId, now);
    canvas.classList.toggle("moving", now.moves || tool() === "pan");
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => { held.delete(event.pointerId); canvas.classList.remove("moving"); });
  }
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = keyAction(viewer, event, commands);
    if (!act) return;
    event.preventDefault();
    act();
  });
}

function drag(viewer, before, now, moves) {
  const across = now.x - before.x, down = now.y - before.y;
  if (moves) viewer.moveBy(across, down);
  else viewer.change({ window: viewer.view.window + across / WINDOW_PIXELS, level: viewer.view.level + down / WINDOW_PIXELS });
}

function pinch(viewer, held, moved, now) {
  const before = held.get(moved);
  const [other] = [...held].filter(([id]) => id !== moved).map(([, place]) => place);
  const apart = (place) => Math.hypot(place.x - other.x, place.y - other.y) || 1;
  viewer.moveBy((now.x - before.x) / 2, (now.y - before.y) / 2);
  viewer.zoomBy(apart(now) / apart(before), (now.x + other.x) / 2, (now.y + other.y) / 2);
}

function keyAction(viewer, event, commands) {
  const { view } = viewer;
  const shifted = {
    ArrowRight: () => viewer.change({ window: view.window + KEY_STEP }),
    ArrowLeft: () => viewer.change({ window: view.window - KEY_STEP }),
    ArrowUp: () => viewer.change({ level: view.level - KEY_STEP }),
    ArrowDown: () => viewer.change({ level: view.level + KEY_STEP }),
  };
  if (event.shiftKey && shifted[event.key]) return shifted[event.key];
  const plain = {
    ArrowRight: () => viewer.moveBy(-KEY_MOVE, 0),
    ArrowLeft: () => viewer.moveBy(KEY_MOVE, 0),
    ArrowUp: () => viewer.moveBy(0, KEY_MOVE),
    ArrowDown: () => viewer.moveBy(0, -KEY_MOVE),
    "+": () => viewer.zoomBy(1.25),
    "=": () => viewer.zoomBy(1.25),
    "-": () => viewer.zoomBy(0.8),
    0: () => viewer.reset(),
    i: () => viewer.change({ invert: !view.invert }),
    ...commands,
  };
  return plain[event.key.length === 1 ? event.key.toLowerCase() : event.key];
}

function clipped(value, most) {
  return Math.max(-most, Math.min(most, value));
}
