// The charts of a page: `<section data-charts="address">` holds a switch of windows and `[data-chart]` cards.

import { formats, written } from "./live.js";

const { uPlot } = window;
const HEIGHT = 190;
const NARROWEST = 240;
const TABLE_ROWS = 30;
const WINDOW_KEY = "fleet.window";
const AGAIN = 10_000; // milliseconds at the least until the figures are read again
const PATIENCE = 10_000;
const MOST_QUEUES = 6;
const COLOURS = 8;

const section = document.querySelector("[data-charts]");

// --- what each chart shows ---------------------------------------------------------------------------------------------------

/** Counts of steps as tasks a minute; a step that is not over yet would look like a drop. */
function aMinute(values, { at, step }) {
  const now = Date.now() / 1000;
  return values.map((value, place) => (value === null || at[place] + step > now ? null : (value * 60) / step));
}

const lastOf = (values) => values.findLast((value) => value !== null && value !== undefined) ?? null;
const tasks = (value) => (value < 10 && value % 1 ? value.toFixed(1) : formats.short(value));

/** kind -> what to draw: lines {label, values, colour, dash?, fill?, line?: a level}, how values are written. */
const KINDS = {
  throughput: (data) => ({
    format: tasks,
    lines: [
      { label: "Succeeded", values: aMinute(data.succeeded, data), colour: "--good", fill: true },
      { label: "Failed", values: aMinute(data.failed, data), colour: "--bad", fill: true },
      { label: "Retried", values: aMinute(data.retried, data), colour: "--warn", dash: [5, 4] },
    ],
  }),
  latency: (data) => ({
    format: formats.duration,
    spread: true,
    lines: [
      { label: "Wait, 95 of 100", values: data.wait_p95, colour: "--apart" },
      { label: "Wait, median", values: data.wait_p50, colour: "--apart", dash: [2, 3] },
      { label: "Run, 95 of 100", values: data.run_p95, colour: "--busy" },
      { label: "Run, median", values: data.run_p50, colour: "--busy", dash: [2, 3] },
      ...(data.target ? [target(`target: ${formats.duration(data.target)}`, data.target, data.at.length)] : []),
    ],
  }),
  running: (data) => ({
    format: tasks,
    lines: [
      { label: "Waiting", values: data.backlog, colour: "--line-1", fill: true },
      { label: "Running", values: data.running, colour: "--line-2" },
    ],
  }),
  backlog(data) {
    const queues = data.queues
      ? Object.entries(data.queues)
      : [["Oldest", { oldest: data.oldest, urgency: data.urgency, target: data.target }]];
    const longest = ([, queue]) => Math.max(0, ...queue.oldest.filter((value) => value !== null).slice(-60));
    const shown = queues.toSorted((one, other) => longest(other) - longest(one)).slice(0, MOST_QUEUES);
    const names = queues.map(([name]) => name).toSorted();
    const colours = coloursOf(shown.map(([name]) => name), names);
    const urgencies = new Map(
      shown.filter(([, queue]) => queue.target).map(([, queue]) => [queue.urgency, queue.target]),
    );
    return {
      format: formats.duration,
      spread: true,
      lines: [
        ...shown.map(([name, queue]) => ({
          label: name,
          // A queue whose lane is empty keeps nobody waiting.
          values: queue.oldest.map((value, place) => value ?? (queue.backlog?.[place] === 0 ? 0 : null)),
          colour: colours.get(name),
        })),
        ...[...urgencies].map(([urgency, seconds]) =>
          target(`${urgency}: ${formats.duration(seconds)}`, seconds, data.at.length),
        ),
      ],
    };
  },
};

/** Each queue keeps its colour as far as it can; no two that are shown have the same. */
function coloursOf(shown, names) {
  const found = new Map();
  const free = new Set(Array.from({ length: COLOURS }, (_none, place) => place));
  for (const name of shown.toSorted()) {
    const wanted = names.indexOf(name) % COLOURS;
    const place = free.has(wanted) ? wanted : Math.min(...free);
    free.delete(place);
    found.set(name, `--line-${place + 1}`);
  }
  return found;
}

function target(label, seconds, length) {
  return { label, values: new Array(length).fill(seconds), colour: "--bad", dash: [7, 5], level: true };
}

// --- colours: as the theme has them -------------------------------------------------------------------------------------------

const probe = document.createElement("span");
probe.hidden = true;

function colour(name, share = 100) {
  probe.style.color = share === 100 ? `var(${name})` : `color-mix(in srgb, var(${name}) ${share}%, transparent)`;
  return getComputedStyle(probe).color;
}

// --- one chart ------------------------------------------------------------------------------------------------------------------

const charts = new Map();

/** Seconds on a scale on which milliseconds and hours can be told apart. */
const spreadOut = {
  distr: 100,
  fwd: (value) => Math.log1p(value * 20),
  bwd: (value) => Math.expm1(value) / 20,
};
const SPREAD_TICKS = [0, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 86_400, 7 * 86_400];

function scaleOf(content) {
  const range = (_plot, _low, high) => {
    const most = Number.isFinite(high) && high > 0 ? high : 1;
    return [0, content.spread ? most * 1.25 : Math.max(1, most * 1.12)];
  };
  return content.spread ? { ...spreadOut, range } : { range };
}

function spreadTicks(plot, _axis, low, high) {
  const room = plot.over.clientHeight || HEIGHT;
  const place = (value) => (spreadOut.fwd(value) / spreadOut.fwd(high)) * room;
  const found = [];
  for (const tick of SPREAD_TICKS.filter((each) => each >= low && each <= high)) {
    if (!found.length || place(tick) - place(found.at(-1)) >= 24) found.push(tick);
  }
  return found;
}

function clock(seconds, wide) {
  const options = wide
    ? { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hour12: false }
    : { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false };
  return new Date(seconds * 1000).toLocaleString("en-GB", options);
}

/** The places of values that no line leads to. */
function lonely(plot, series) {
  const values = plot.data[series];
  const none = (place) => values[place] === null || values[place] === undefined;
  return [...values.keys()].filter((place) => !none(place) && none(place - 1) && none(place + 1));
}

function options(card, content, width) {
  const text = colour("--text-3");
  const grid = { stroke: colour("--grid"), width: 1 };
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  return {
    width,
    height: HEIGHT,
    padding: [12, 18, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: "fleet" }, y: false, points: { size: 7 }, drag: { x: false, y: false } },
    scales: { x: { time: true }, y: scaleOf(content) },
    axes: [
      {
        stroke: text, font, grid: { show: false }, ticks: { show: false }, size: 26, space: 70,
        values: (_plot, ticks) =>
          ticks.map((each) => new Date(each * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" })),
      },
      {
        stroke: text, font, grid, ticks: { show: false }, size: 52, gap: 6, space: 36,
        values: (_plot, ticks) => ticks.map((each) => (each === null ? "" : content.format(each))),
        ...(content.spread ? { splits: spreadTicks, filter: (_plot, splits) => splits } : {}),
      },
    ],
    series: [
      {},
      ...content.lines.map((line) => ({
        label: line.label,
        stroke: colour(line.colour, line.level ? 75 : 100),
        fill: line.fill ? colour(line.colour, 12) : undefined,
        width: line.level ? 1 : 1.6,
        dash: line.dash,
        points: { show: true, size: 4, filter: lonely },
        show: !hidden(card, line.label),
      })),
    ],
    hooks: {
      setCursor: [(plot) => showValues(card, plot.cursor.idx)],
      draw: [(plot) => nameLevels(plot, content)],
    },
  };
}

/** The words of a level stand on it. */
function nameLevels(plot, content) {
  const { ctx } = plot;
  const ratio = devicePixelRatio || 1;
  ctx.save();
  ctx.font = `${10 * ratio}px ${getComputedStyle(document.body).fontFamily}`;
  ctx.fillStyle = colour("--bad-text");
  ctx.strokeStyle = colour("--surface");
  ctx.lineWidth = 4 * ratio;
  ctx.lineJoin = "round";
  ctx.textAlign = "right";
  ctx.textBaseline = "bottom";
  for (const line of content.lines.filter((each) => each.level)) {
    const height = plot.valToPos(line.values[0], "y", true);
    if (height < plot.bbox.top) continue;
    const place = [line.label, plot.bbox.left + plot.bbox.width - 2 * ratio, height - 3 * ratio];
    ctx.strokeText(...place); // so that lines behind it do not cross it out
    ctx.fillText(...place);
  }
  ctx.restore();
}

const off = new Map();
const hidden = (card, label) => off.get(card.dataset.chart)?.has(label);

function draw(card, data) {
  const content = KINDS[card.dataset.chart](data);
  const place = card.querySelector(".chart-plot");
  const width = Math.max(NARROWEST, place.clientWidth - 12);
  const nothing = content.lines.every((line) => line.level || line.values.every((value) => value === null));
  const known = charts.get(card);
  const shape = JSON.stringify([content.lines.map((line) => line.label), nothing]);
  const values = [data.at, ...content.lines.map((line) => line.values)];
  if (known && known.shape === shape && known.plot && !nothing) {
    known.content = content;
    known.plot.setData(values);
  } else {
    known?.plot?.destroy();
    place.replaceChildren();
    let plot = null;
    if (nothing) {
      const words = document.createElement("p");
      words.className = "chart-none";
      words.textContent = "Nothing happened in this time.";
      place.append(words);
    } else {
      plot = new uPlot(options(card, content, width), values, place);
    }
    charts.set(card, { plot, content, shape });
    legend(card, content, plot);
  }
  charts.get(card).at = data.at;
  charts.get(card).wide = data.at.length > 1 && data.at.at(-1) - data.at[0] > 43_200;
  showValues(card, null);
  const summary = content.lines.filter((line) => !line.level).map((line) => `${line.label} ${written2(content, lastOf(line.values))}`);
  const title = card.querySelector("h2").textContent;
  place.setAttribute("aria-label", nothing ? `${title}: nothing happened in this time` : `${title}, latest: ${summary.join(", ")}`);
  const table = card.querySelector(".chart-table");
  if (!table.hidden) tabulate(card);
}

const written2 = (content, value) => (value === null ? written(null) : content.format(value));

// --- its legend: what is under the pointer, or the latest; a click hides a line ---------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";

function sample(line) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("width", "16");
  svg.setAttribute("height", "8");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", "M0 4h16");
  path.setAttribute("stroke-width", "2.5");
  if (line.dash) path.setAttribute("stroke-dasharray", line.dash.map((each) => each * 0.8).join(" "));
  path.style.stroke = `var(${line.colour})`;
  svg.append(path);
  return svg;
}

function legend(card, content, plot) {
  const place = card.querySelector(".legend");
  place.replaceChildren(
    ...(plot ? content.lines.filter((line) => !line.level) : []).map((line, number) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", String(!hidden(card, line.label)));
      const value = document.createElement("b");
      button.append(sample(line), document.createTextNode(`${line.label} `), value);
      button.addEventListener("click", () => {
        const set = off.get(card.dataset.chart) ?? new Set();
        off.set(card.dataset.chart, set);
        if (!set.delete(line.label)) set.add(line.label);
        button.setAttribute("aria-pressed", String(!set.has(line.label)));
        charts.get(card).plot.setSeries(number + 1, { show: !set.has(line.label) });
      });
      return button;
    }),
  );
}

function showValues(card, place) {
  const known = charts.get(card);
  if (!known?.plot) return;
  known.content.lines.forEach((line, number) => {
    const value = card.querySelectorAll(".legend button")[number]?.querySelector("b");
    if (!value) return;
    const shown = place === null || place === undefined ? lastOf(line.values) : (line.values[place] ?? null);
    value.textContent = written2(known.content, shown);
  });
}

// --- the table behind it -------------------------------------------------------------------------------------------------------------

function cell(tag, text, classes) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  if (tag === "th") element.scope = classes === "row" ? "row" : "col";
  element.textContent = text;
  return element;
}

function tabulate(card) {
  const { content, at, wide } = charts.get(card);
  const lines = content.lines.filter((line) => !line.level);
  const table = document.createElement("table");
  table.className = "table";
  const head = table.createTHead().insertRow();
  head.append(cell("th", "Time"), ...lines.map((line) => cell("th", line.label, "num")));
  const body = table.createTBody();
  const every = Math.max(1, Math.ceil(at.length / TABLE_ROWS));
  for (let place = at.length - 1; place >= 0; place -= every) {
    const row = body.insertRow();
    const time = document.createElement("time");
    time.dateTime = new Date(at[place] * 1000).toISOString();
    time.textContent = clock(at[place], wide);
    const first = document.createElement("th");
    first.scope = "row";
    first.append(time);
    row.append(first, ...lines.map((line) => cell("td", written2(content, line.values[place] ?? null), "num")));
  }
  card.querySelector(".chart-table").replaceChildren(table);
}

// --- the section -------------------------------------------------------------------------------------------------------------------------

let data = null;
let reading = false;
let readAt = 0;
let minutes = Number(localStorage.getItem(WINDOW_KEY)) || 60;

/** The lines of one queue look like those of all. */
function chosen(all) {
  const name = section.dataset.queue;
  if (!name) return all;
  const none = () => all.at.map(() => null);
  const empty = Object.fromEntries(
    ["succeeded", "failed", "retried", "received", "wait_p50", "wait_p95", "run_p50", "run_p95", "backlog", "running", "oldest"].map((each) => [each, none()]),
  );
  return { minutes: all.minutes, step: all.step, at: all.at, urgency: "", target: null, ...empty, ...all.queues[name] };
}

function drawAll() {
  if (!data) return;
  for (const card of section.querySelectorAll("[data-chart]")) draw(card, data);
}

function anew() {
  for (const { plot } of charts.values()) plot?.destroy();
  charts.clear();
  drawAll();
}

async function read() {
  if (reading || document.hidden) return;
  reading = true;
  try {
    const asked = minutes;
    const query = new URLSearchParams({ minutes: asked, ...(section.dataset.queue ? { queue: section.dataset.queue } : {}) });
    const answer = await fetch(`${section.dataset.charts}?${query}`, { signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(String(answer.status));
    const found = chosen(await answer.json());
    if (asked === minutes) {
      data = found;
      drawAll();
    }
  } catch {
    if (!data) {
      for (const words of section.querySelectorAll(".chart-none")) words.textContent = "The figures cannot be read now.";
    }
  } finally {
    reading = false;
    readAt = performance.now();
  }
}

function choose(next) {
  minutes = next;
  localStorage.setItem(WINDOW_KEY, String(next));
  for (const button of section.querySelectorAll("[data-minutes]")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.minutes) === minutes));
  }
}

if (section && uPlot) {
  document.body.append(probe);
  choose(minutes);
  for (const button of section.querySelectorAll("[data-minutes]")) {
    button.addEventListener("click", () => {
      choose(Number(button.dataset.minutes));
      read();
    });
  }
  for (const button of section.querySelectorAll("[data-chart-table]")) {
    button.addEventListener("click", () => {
      const card = button.closest("[data-chart]");
      const table = card.querySelector(".chart-table");
      table.hidden = !table.hidden;
      button.setAttribute("aria-expanded", String(!table.hidden));
      if (!table.hidden && charts.has(card)) tabulate(card);
    });
  }
  new ResizeObserver(() => {
    for (const [card, { plot }] of charts) {
      const width = Math.max(NARROWEST, card.querySelector(".chart-plot").clientWidth - 12);
      if (plot && plot.width !== width) plot.setSize({ width, height: HEIGHT });
    }
  }).observe(section);
  document.addEventListener("fleet:theme", anew);
  document.addEventListener("fleet:overview", () => {
    if (performance.now() - readAt >= Math.max(AGAIN, (data?.step ?? 0) * 1000)) read();
  });
  read();
}
