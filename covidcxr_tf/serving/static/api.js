// Requests to this server and to no other: two at a time, and patient when it is busy.

const AT_ONCE = 2;
const TRIES = 8;
const LONGEST_WAIT = 15;

/** An error as the server words it: what is wrong, what was expected, what to do. */
export class Refusal extends Error {
  constructor(problem, expected = null, remedy = null, again = false) {
    super(problem);
    this.expected = expected;
    this.remedy = remedy;
    this.again = again; // whether the same request may succeed later
  }
}

const waiting = [];
let running = 0;
let token = "";
let asking = null;

/** Run `task` (a function that gives a promise) when fewer than two others run; a hurried one goes first. */
export function inTurn(task, hurried = false) {
  return new Promise((resolve, reject) => {
    const entry = () => task().then(resolve, reject).finally(() => { running -= 1; next(); });
    if (hurried) waiting.unshift(entry);
    else waiting.push(entry);
    next();
  });
}

function next() {
  while (running < AT_ONCE && waiting.length) {
    running += 1;
    waiting.shift()();
  }
}

/** Send one film; `tell` is called with a sentence while the server is busy. */
export async function readFilm(file, { classIndex = -1, picture = true, signal, tell = () => {} } = {}) {
  const form = new FormData();
  form.append("class_index", String(classIndex));
  form.append("picture", picture ? "1" : "0");
  form.append("film", file, file.name);
  for (let attempt = 1; ; attempt += 1) {
    const reply = await ask("films", { method: "POST", body: form, signal });
    if (reply.status !== 429) return understood(reply);
    if (attempt === TRIES) throw new Refusal("the server was busy each of the times it was asked", null, "try again later", true);
    const seconds = Math.min(LONGEST_WAIT, Math.max(Number(reply.headers.get("Retry-After")) || 1, 2 ** (attempt - 1)));
    tell(`Server is busy, trying again in ${seconds} s (${attempt} of ${TRIES - 1})`);
    await pause(seconds, signal);
  }
}

/** Which model reads the films, and its limits. */
export async function aboutModel() {
  return understood(await ask("films", {}));
}

async function ask(path, options) {
  for (;;) {
    let reply;
    try {
      reply = await fetch(path, { ...options, headers: token ? { Authorization: `Bearer ${token}` } : {}, cache: "no-store", redirect: "error" });
    } catch (fault) {
      if (fault.name === "AbortError") throw fault;
      if (fault.name === "NotFoundError" || fault.name === "NotReadableError") throw new Refusal("the file can no longer be read", null, "choose it again");
      throw new Refusal("the server does not answer", null, "see whether `covidcxr serve` still runs, then try again", true);
    }
    if (reply.status !== 401 || !askToken) return reply;
    asking ??= askToken(Boolean(token)).finally(() => { asking = null; });
    token = await asking;
  }
}

let askToken = null;

/** `ask(wrong)` gives a promise of the token, once the server wants one. */
export function onTokenWanted(asker) {
  askToken = asker;
}

async function understood(reply) {
  let body = null;
  try {
    body = await reply.json();
  } catch {
    // A proxy's page, or a connection cut short: the status says what there is to say.
  }
  if (reply.ok && body) return body;
  const again = reply.ok || reply.status >= 500 || reply.status === 408;
  throw new Refusal(body?.error ?? `the server answered ${reply.status}`, body?.expected, body?.remedy, again);
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
}
