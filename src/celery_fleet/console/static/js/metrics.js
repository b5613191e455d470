// The panels of a dashboard: each is asked for at the console, which asks Prometheus, and drawn; again and again.
//
// `<main data-panels="/api/v1/dashboards/queues/panels" data-query="range=1h&queue=mail">`, and in it `[data-panel]`s.

import { formats, written } from "./live.js";
import { attend, coloursOf, deployments, draw, lastOf, level } from "./plots.js";

const AT_ONCE = 4; // questions at a time
const SOONEST = 15_000; // milliseconds between two readings of a panel, at the least
const LATEST = 60_000;
const AGAIN = 2_000; // when the console was busy
const PATIENCE = 20_000;
const SAME = 8; // lines with one colour each; those that follow are dotted

const section = document.querySelector("[data-panels]");

// --- how values are written -----------------------------------------------------------------------------------------------------------

const short = (value) => String(Number(Math.abs(value) < 1 ? value.toPrecision(2) : value.toFixed(2)));
const count = (value) => (Math.abs(value) < 10 && value % 1 ? short(value) : formats.short(value));
const seconds = (value) => (value > 0 && value < 0.001 ? `${short(value * 1e6)}\u00a0µs` : formats.duration(value));
const signed = (write) => (value) => (value < 0 ? `-${write(-value)}` : write(value));
const UNITS = {
  seconds: signed(seconds),
  bytes: signed(formats.bytes),
  share: formats.percent,
  count,
  "a second": (value) => `${formats.rate(value)}/s`,
  "bytes a second": (value) => `${formats.bytes(value)}/s`,
};
const LEAST = { seconds: 0.0001, bytes: 1024, share: 0.01, "a second": 0.01, "bytes a second": 1024 };
const BINARY = Array.from({ length: 45 }, (_none, power) => 2 ** power);
const TONES = { good: "--good", warn: "--warn", bad: "--bad", busy: "--busy", apart: "--apart" };

const write = (unit, value) => (value === null || value === undefined ? written(null) : UNITS[unit](value));

// --- what a panel shows, drawn --------------------------------------------------------------------------------------------------------

function silence(panel) {
  if (!panel.available) return "Prometheus cannot be asked now.";
  if (panel.empty_when_healthy) return `Nothing now. Filled by: ${panel.empty_when_healthy.replaceAll("`", "")}.`;
  return "Prometheus has no data of this time.";
}

function lines(panel) {
  const plain = panel.series.filter((each) => !each.level && (!each.tone || many(panel, each)));
  const names = plain.map((each) => each.label).toSorted();
  const colours = coloursOf(names, names);
  const values = UNITS[panel.unit];
  return [
    ...panel.series.filter((each) => !each.level).map((each) => {
      const place = names.indexOf(each.label);
      return {
        label: each.label,
        values: each.values,
        colour: colours.get(each.label) ?? TONES[each.tone],
        dash: place >= SAME ? [2, 3] : undefined,
        fill: panel.fill && panel.series.length <= 3,
      };
    }),
    ...panel.series.filter((each) => each.level).map((each) => ({
      label: `${each.label ? `${each.label}: ` : ""}${values(lastOf(each.values) ?? 0)}`,
      values: each.values,
      colour: "--bad",
      dash: [7, 5],
      level: true,
    })),
    ...panel.thresholds
      .filter((each) => each.value !== panel.top)
      .map((each) => level(values(each.value), each.value, panel.at.length, TONES[each.tone])),
  ];
}

/** A tone of several series would be one colour for all of them. */
const many = (panel, series) => panel.series.filter((each) => each.tone === series.tone).length > 1;

function drawChart(card, panel, marks) {
  draw(
    card,
    {
      format: UNITS[panel.unit],
      lines: lines(panel),
      spread: panel.spread,
      top: panel.top,
      least: LEAST[panel.unit],
      steps: panel.unit.startsWith("bytes") ? BINARY : undefined,
      within: [Date.parse(panel.since) / 1000, Date.parse(panel.until) / 1000],
      nothing: silence(panel),
      tellsLevels: true,
      marks,
    },
    panel.at,
  );
}

/** The tone of the worst threshold that a value has passed. */
function toneOf(panel, value) {
  const passed = (each) => (panel.below ? value < each.value : value >= each.value);
  const tones = panel.thresholds.filter(passed).map((each) => each.tone);
  return tones.includes("bad") ? "bad" : (tones[0] ?? "");
}

function drawStat(tile, panel) {
  const value = panel.series.length ? panel.series[0].values.at(-1) : null;
  tile.querySelector("[data-figure]").textContent = write(panel.unit, value);
  const tone = value === null ? "" : toneOf(panel, value);
  if (tone) tile.dataset.tone = tone;
  else delete tile.dataset.tone;
}

function cell(tag, text, classes) {
  const element = document.createElement(tag);
  element.textContent = text;
  if (classes) element.className = classes;
  if (tag === "th") element.scope = "col";
  return element;
}

function drawTable(card, panel) {
  const place = card.querySelector("[data-rows]");
  if (!panel.rows.length) {
    const words = document.createElement("p");
    words.className = "table-none";
    words.textContent = silence(panel);
    place.replaceChildren(words);
    return;
  }
  const columns = panel.columns.map((each, number) => ({ ...each, number })).filter(
    (each) => each.unit || panel.rows.some((row) => row[each.number] !== ""),
  );
  const table = document.createElement("table");
  table.className = "table";
  const head = table.createTHead().insertRow();
  head.append(...columns.map((each) => cell("th", each.title, each.unit ? "num" : "")));
  const body = table.createTBody();
  for (const row of panel.rows) {
    const made = body.insertRow();
    columns.forEach((each, place) => {
      const value = row[each.number];
      const text = each.unit ? (each.words[value] ?? write(each.unit, value)) : value || written(null);
      const part = cell(place ? "td" : "th", text, each.unit ? "num" : "");
      if (!place) part.scope = "row";
      made.append(part);
    });
  }
  place.replaceChildren(table);
}

function show(card, panel, marks) {
  card.dataset.state = panel.available ? "known" : "away";
  if (panel.kind === "stat") drawStat(card, panel);
  else if (panel.kind === "table") drawTable(card, panel);
  else drawChart(card, panel, marks);
  const note = card.querySelector("[data-left-out]");
  if (note) {
    note.hidden = !panel.left_out;
    note.textContent = panel.left_out ? `${panel.left_out} more are not shown: choose fewer above.` : "";
  }
}

// --- asking ---------------------------------------------------------------------------------------------------------------------------

async function ask(card) {
  const address = `${section.dataset.panels}/${card.dataset.panel}?${section.dataset.query}`;
  const answer = await fetch(address, { signal: AbortSignal.timeout(PATIENCE) });
  if (answer.status === 401) location.reload(); // the session is over: the server asks for the key
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.json();
}

const trouble = document.querySelector("[data-trouble]");
let timer = 0;
let reading = false;

async function readAll() {
  clearTimeout(timer);
  if (reading) return;
  if (document.hidden) return; // it goes on when somebody looks
  reading = true;
  const waiting = [...section.querySelectorAll("[data-panel]")];
  const marks = await deployments();
  let step = 0;
  let reason = "";
  let failed = false;
  const work = async () => {
    for (let card = waiting.shift(); card; card = waiting.shift()) {
      try {
        const panel = await ask(card);
        step = panel.step;
        reason ||= panel.reason;
        // What was shown stays while Prometheus is away.
        if (panel.available || card.dataset.state !== "known") show(card, panel, marks);
      } catch {
        failed = true; // the console is away, or too many ask: what is shown stays
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  tell(reason);
  section.dataset.read = "true";
  reading = false;
  timer = setTimeout(readAll, failed ? AGAIN : Math.min(LATEST, Math.max(SOONEST, step * 1000)));
}

function tell(reason) {
  trouble.hidden = !reason;
  const words = reason ? `What is shown may be old: ${reason}` : "";
  if (trouble.querySelector("p").textContent !== words) trouble.querySelector("p").textContent = words;
}

if (section && window.uPlot) {
  attend(section);
  document.addEventListener("visibilitychange", () => document.hidden || readAll());
  readAll();
}
