// Keeps the page true: news come as server-sent events, or by asking every few seconds where events do not get through.
//
// `data-live="counts.waiting"` shows that value of the overview; `[data-part]` parts of a page with `data-live-parts`
// are read again. Nothing happens while the tab is hidden.

import { morph } from "./morph.js";

const EVENTS = "/api/v1/events";
const OVERVIEW = "/api/v1/overview";
const POLL = 3000; // milliseconds between questions where there are no events
const STALE = 20_000; // without news for so long, what is shown may be old
const PARTS = 2000; // parts are not read more often
const PATIENCE = 10_000; // for one answer
const FAILURES = 3; // of the stream in a row, until asking takes over
const STREAM_AGAIN = 60_000; // when the stream is tried again

const NARROW = "\u202f";
const SPACE = "\u00a0";
const NOTHING = "–";

// --- how values are written: as pages/text.py does ----------------------------------------------------------------------

export const formats = {
  number: (value) => Math.round(value).toLocaleString("en-US").replaceAll(",", NARROW),
  short(value) {
    for (const [size, unit] of [[1e6, "M"], [1e3, "k"]]) {
      if (value >= size * 0.9995) return (value / size).toFixed(1).replace(/\.0$/, "") + unit;
    }
    return String(Math.round(value));
  },
  rate(value) {
    if (value === 0) return "0";
    if (value < 0.01) return "<0.01";
    return value < 1 ? value.toFixed(2) : value < 10 ? value.toFixed(1) : formats.number(value);
  },
  bytes(value) {
    for (const unit of ["B", "KB", "MB", "GB"]) {
      if (value < 1000 || unit === "GB") {
        return `${value < 10 && unit !== "B" ? value.toFixed(1).replace(/\.0$/, "") : value.toFixed(0)}${SPACE}${unit}`;
      }
      value /= 1024;
    }
  },
  percent(share) {
    const value = share * 100;
    return `${value > 0 && value < 10 ? value.toFixed(1) : value.toFixed(0)}%`;
  },
  duration(seconds) {
    if (seconds > 0 && seconds < 0.9995) return `${Math.max(1, Math.round(seconds * 1000))}${SPACE}ms`;
    if (seconds < 9.95) return `${seconds.toFixed(1).replace(/\.0$/, "")}${SPACE}s`;
    const whole = Math.round(seconds);
    for (const [size, unit, part, small] of [[86400, "d", 3600, "h"], [3600, "h", 60, "m"], [60, "m", 1, "s"]]) {
      if (whole < size) continue;
      const rest = Math.floor((whole % size) / part);
      return `${Math.floor(whole / size)}${SPACE}${unit}` + (rest ? `${SPACE}${rest}${SPACE}${small}` : "");
    }
    return `${whole}${SPACE}s`;
  },
};

export function written(value, format = "number") {
  return value === null || value === undefined ? NOTHING : formats[format](value);
}

const at = (root, path) => path.split(".").reduce((value, name) => value?.[name], root);

function show(overview) {
  for (const element of document.querySelectorAll("[data-live]")) {
    const value = at(overview, element.dataset.live);
    const blank = element.dataset.blank === "zero" && !value;
    const text = blank ? "" : written(value, element.dataset.format);
    if (element.textContent !== text) element.textContent = text;
    if (element.dataset.hot) {
      if (value) element.dataset.tone = element.dataset.hot;
      else delete element.dataset.tone;
    }
  }
  document.dispatchEvent(new CustomEvent("fleet:overview", { detail: overview }));
}

// --- what one is told about how fresh it is ------------------------------------------------------------------------------

const indicators = document.querySelectorAll("[data-live-indicator]");
const announcer = document.querySelector("[data-announce]");
const WORDS = {
  live: ["Live", "News come as they happen"],
  polling: ["Live", "The console is asked for news every 3 s"],
  stale: ["Not live", "No news from the console: what is shown may be old"],
  paused: ["Paused", "Nobody looks"],
};
let state = "";

function say(now) {
  if (state === now) return;
  // A screen reader is told of trouble and of its end alone.
  if (announcer && (now === "stale" || state === "stale")) announcer.textContent = WORDS[now].join(". ");
  state = now;
  document.body.dataset.liveState = { live: "streaming", polling: "polling" }[now] || "off";
  for (const indicator of indicators) {
    indicator.dataset.state = now;
    [indicator.textContent, indicator.title] = WORDS[now];
  }
}

// --- parts of the page ---------------------------------------------------------------------------------------------------

const partial = document.querySelector("[data-live-parts]");
let partsAt = 0;
let reading = false;

function atWork() {
  const selection = document.getSelection();
  if (selection && !selection.isCollapsed) return true;
  if (document.querySelector("dialog[open], [data-part] [aria-busy=true]")) return true;
  const focused = document.activeElement;
  return Boolean(focused?.closest("[data-part]") && focused.matches("input:not([type=checkbox]), select, textarea"));
}

async function readParts() {
  if (!partial || reading || performance.now() - partsAt < PARTS || atWork()) return;
  reading = true;
  try {
    const address = new URL(location.href);
    address.searchParams.set("fragment", "1");
    const answer = await fetch(address, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok || answer.redirected) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (atWork()) return;
    for (const part of document.querySelectorAll("[data-part]")) {
      const news = fresh.getElementById(part.id);
      if (news) morph(part, document.importNode(news, true));
    }
  } catch {
    // The indicator tells when it stays away.
  } finally {
    partsAt = performance.now();
    reading = false;
  }
}

// --- where news come from ----------------------------------------------------------------------------------------------------

let stream = null;
let failures = 0;
let heard = 0;
let pollTimer = 0;
let streamAgain = 0;

function news(overview, how) {
  heard = performance.now();
  say(how);
  show(overview.overview ?? overview);
  readParts();
}

function listen() {
  stream = new EventSource(EVENTS);
  stream.addEventListener("overview", (event) => {
    failures = 0;
    stopPolling();
    news(JSON.parse(event.data), "live");
  });
  // The console is there, and Redis is not.
  stream.addEventListener("trouble", () => say("stale"));
  stream.addEventListener("error", () => {
    failures += 1;
    // Closed: it was refused, and does not try again by itself.
    if (failures < FAILURES && stream.readyState !== EventSource.CLOSED) return;
    stream.close();
    stream = null;
    if (!pollTimer) poll();
    clearTimeout(streamAgain);
    streamAgain = setTimeout(() => document.hidden || stream || listen(), STREAM_AGAIN);
  });
}

async function poll() {
  clearTimeout(pollTimer);
  pollTimer = setTimeout(poll, POLL);
  if (reading) return;
  try {
    const answer = await fetch(OVERVIEW, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(PATIENCE) });
    if (answer.status === 401) {
      location.reload(); // the session is over: the server asks for the key
      return;
    }
    if (answer.ok) news(await answer.json(), "polling");
  } catch {
    // The indicator tells when it stays away.
  }
}

function stopPolling() {
  clearTimeout(pollTimer);
  pollTimer = 0;
}

function begin() {
  failures = 0;
  heard = performance.now();
  if (!stream) listen();
}

function pause() {
  stream?.close();
  stream = null;
  stopPolling();
  clearTimeout(streamAgain);
  say("paused");
}

document.addEventListener("visibilitychange", () => (document.hidden ? pause() : begin()));
// A page that the browser keeps for the way back holds no connection.
window.addEventListener("pagehide", pause);
window.addEventListener("pageshow", (event) => event.persisted && begin());
setInterval(() => {
  if (!document.hidden && performance.now() - heard > STALE) say("stale");
}, 1000);
if (!document.hidden) begin();
