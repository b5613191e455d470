// How one chart is drawn: lines, levels, deployments, its legend and the table behind it. `charts.js` and `metrics.js`
// say what is in it.
//
// A card has `data-chart`, a heading, and elements of the classes chart-plot, legend and chart-table. Its content:
//   format   how values are written
//   lines    [{label, values, colour, dash?, fill?, level?}]; a level is a target or a limit
//   spread?  milliseconds and hours can be told apart
//   steps?   distances between ticks;  tellsLevels?  they are in the legend;  marks?  [{at, label}] deployments
//   top?     where the scale ends;  least?  the lowest end of it;  within?  [begin, end] of the time shown;  nothing?  what is said when there is nothing

import { written } from "./live.js";

const { uPlot } = window;
const HEIGHT = 190;
const NARROWEST = 240;
const TABLE_ROWS = 30;
const PATIENCE = 10_000;
const COLOURS = 8;
const FAR = 4; // a level that is so many times higher than all values is only named

export const lastOf = (values) => values.findLast((value) => value !== null && value !== undefined) ?? null;

/** Each name keeps its colour as far as it can; no two that are shown have the same, while there are enough. */
export function coloursOf(shown, names) {
  const found = new Map();
  let free = new Set(Array.from({ length: COLOURS }, (_none, place) => place));
  for (const name of shown.toSorted()) {
    if (!free.size) free = new Set(Array.from({ length: COLOURS }, (_none, place) => place));
    const wanted = names.indexOf(name) % COLOURS;
    const place = free.has(wanted) ? wanted : Math.min(...free);
    free.delete(place);
    found.set(name, `--line-${place + 1}`);
  }
  return found;
}

/** A level of one value. */
export function level(label, value, length, colour = "--bad") {
  return { label, values: new Array(length).fill(value), colour, dash: [7, 5], level: true };
}

// --- colours: as the theme has them -------------------------------------------------------------------------------------------

const probe = document.createElement("span");
probe.hidden = true;
document.body.append(probe);

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
const SPREAD_TICKS = [0, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 86_400, 7 * 86_400, 30 * 86_400, 365 * 86_400];

/** Levels that are far away do not press the lines down. */
function highest(content) {
  const most = (lines) => Math.max(0, ...lines.flatMap((line) => line.values.filter((value) => value !== null)));
  const drawn = most(content.lines.filter((line) => !line.level));
  const levels = content.lines.filter((line) => line.level).map((line) => lastOf(line.values) ?? 0);
  return Math.max(drawn, ...levels.filter((each) => content.spread || !drawn || each <= FAR * drawn));
}

function scaleOf(content, now) {
  const range = () => {
    const { top, least = 1 } = now();
    if (top) return [0, top];
    const most = highest(now()) || least;
    return [0, content.spread ? most * 1.25 : Math.max(least, most * 1.12)];
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
  return new Date(seconds * 1000).toLocaleString("en-GB", { ...options, timeZone: "UTC" });
}

/** The places of values that no line leads to. */
function lonely(plot, series) {
  const values = plot.data[series];
  const none = (place) => values[place] === null || values[place] === undefined;
  return [...values.keys()].filter((place) => !none(place) && none(place - 1) && none(place + 1));
}

/** What a chart is made with. What it shows may change: it is looked up when it is drawn. */
function options(card, content, width) {
  const now = () => charts.get(card)?.content ?? content;
  const text = colour("--text-3");
  const grid = { stroke: colour("--grid"), width: 1 };
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  return {
    width,
    height: HEIGHT,
    padding: [12, 18, 0, 0],
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
    legend: { show: false },
    cursor: { sync: { key: "fleet" }, y: false, points: { size: 7 }, drag: { x: false, y: false } },
    scales: {
      x: { time: true, range: (_plot, low, high) => now().within ?? [low, high] },
      y: scaleOf(content, now),
    },
    axes: [
      {
        stroke: text, font, grid: { show: false }, ticks: { show: false }, size: 26, space: 70,
        values: (_plot, ticks) => ticks.map((each) => axisTime(each, ticks)),
      },
      {
        stroke: text, font, grid, ticks: { show: false }, size: 52, gap: 6, space: 36,
        values: (_plot, ticks) => ticks.map((each) => (each === null ? "" : content.format(each))),
        ...(content.steps ? { incrs: content.steps } : {}),
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
      drawClear: [(plot) => drawMarks(plot, now())],
      draw: [(plot) => nameLevels(plot, now())],
    },
  };
}

const TEXTS = new Map([["--warn", "--warn-text"]]);

/** Days where the ticks are that far apart. */
function axisTime(seconds, ticks) {
  const day = ticks.length > 1 && ticks[1] - ticks[0] >= 43_200;
  const how = day ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit" };
  return new Date(seconds * 1000).toLocaleString("en-GB", { ...how, timeZone: "UTC" });
}

/** Deployments are vertical lines behind the others. */
function drawMarks(plot, { marks = [] }) {
  if (!marks.length) return;
  const { ctx } = plot;
  const ratio = devicePixelRatio || 1;
  const { left, top, width, height } = plot.bbox;
  ctx.save();
  ctx.font = `${10 * ratio}px ${getComputedStyle(document.body).fontFamily}`;
  ctx.strokeStyle = colour("--apart", 70);
  ctx.fillStyle = colour("--apart-text");
  ctx.lineWidth = ratio;
  ctx.setLineDash([3 * ratio, 3 * ratio]);
  ctx.textBaseline = "top";
  let free = left;
  for (const { at, label } of marks.toSorted((one, other) => one.at - other.at)) {
    const place = Math.round(plot.valToPos(at, "x", true));
    if (place < left || place > left + width) continue;
    ctx.beginPath();
    ctx.moveTo(place, top);
    ctx.lineTo(place, top + height);
    ctx.stroke();
    const wide = ctx.measureText(label).width + 8 * ratio;
    const fits = place + wide <= left + width;
    const begins = fits ? place : place - wide; // at the right edge the words are before the line
    if (begins < free) continue;
    ctx.fillText(label, begins + (fits ? 3 : 5) * ratio, top + ratio);
    free = place + (fits ? wide : 0);
  }
  ctx.restore();
}

/** The words of a level stand on it. */
function nameLevels(plot, content) {
  const { ctx } = plot;
  const ratio = devicePixelRatio || 1;
  ctx.save();
  ctx.font = `${10 * ratio}px ${getComputedStyle(document.body).fontFamily}`;
  ctx.strokeStyle = colour("--surface");
  ctx.lineWidth = 4 * ratio;
  ctx.lineJoin = "round";
  ctx.textAlign = "right";
  ctx.textBaseline = "bottom";
  for (const line of content.lines.filter((each) => each.level)) {
    const value = lastOf(line.values);
    if (value === null) continue;
    const height = plot.valToPos(value, "y", true);
    if (height < plot.bbox.top) continue;
    ctx.fillStyle = colour(TEXTS.get(line.colour) ?? "--bad-text");
    const place = [line.label, plot.bbox.left + plot.bbox.width - 2 * ratio, height - 3 * ratio];
    ctx.strokeText(...place); // so that lines behind it do not cross it out
    ctx.fillText(...place);
  }
  ctx.restore();
}

const off = new Map();
const hidden = (card, label) => off.get(card.dataset.chart)?.has(label);

export function draw(card, content, at) {
  const place = card.querySelector(".chart-plot");
  const width = Math.max(NARROWEST, place.clientWidth - 12);
  const nothing = content.lines.every((line) => line.level || line.values.every((value) => value === null));
  const silence = content.nothing ?? "Nothing happened in this time.";
  const known = charts.get(card);
  const shape = JSON.stringify([content.lines.map((line) => [line.label, line.colour]), nothing && silence]);
  const values = [at, ...content.lines.map((line) => line.values)];
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
      words.textContent = silence;
      place.append(words);
    } else {
      plot = new uPlot(options(card, content, width), values, place);
    }
    charts.set(card, { plot, content, shape });
    legend(card, content, plot);
  }
  charts.get(card).at = at;
  charts.get(card).wide = at.length > 1 && at.at(-1) - at[0] > 43_200;
  showValues(card, null);
  const summary = content.lines.filter((line) => !line.level).map((line) => `${line.label} ${written2(content, lastOf(line.values))}`);
  const title = card.querySelector("h2, h3").textContent;
  place.setAttribute("aria-label", nothing ? `${title}: ${silence}` : `${title}, latest: ${summary.join(", ")}`);
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
    ...(plot ? content.lines : []).flatMap((line, number) => {
      if (line.level) return content.tellsLevels ? [told(line)] : [];
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", String(!hidden(card, line.label)));
      button.dataset.line = number;
      const value = document.createElement("b");
      button.append(sample(line), document.createTextNode(`${line.label} `), value);
      button.addEventListener("click", () => {
        const set = off.get(card.dataset.chart) ?? new Set();
        off.set(card.dataset.chart, set);
        if (!set.delete(line.label)) set.add(line.label);
        button.setAttribute("aria-pressed", String(!set.has(line.label)));
        charts.get(card).plot.setSeries(number + 1, { show: !set.has(line.label) });
      });
      return [button];
    }),
  );
}

function told(line) {
  const words = document.createElement("span");
  words.append(sample(line), document.createTextNode(line.label));
  return words;
}

function showValues(card, place) {
  const known = charts.get(card);
  if (!known?.plot) return;
  known.content.lines.forEach((line, number) => {
    const value = card.querySelector(`.legend [data-line="${number}"] b`);
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

// --- all charts of a page -------------------------------------------------------------------------------------------------------------

/** In the colours of another theme. */
export function anew() {
  for (const [card, { plot, content, at }] of [...charts]) {
    plot?.destroy();
    charts.delete(card);
    draw(card, content, at);
  }
}

/** The buttons of the tables, and the widths. */
export function attend(section) {
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
}

/** Releases of one app differ in their ends. */
const named = (release) => (release.length > 14 ? `…${release.slice(-10)}` : release);

/** The last deployments, as marks. Without them a chart is drawn as well. */
export async function deployments() {
  try {
    const answer = await fetch("/api/v1/deploys?limit=50", { signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) return [];
    const { deploys } = await answer.json();
    return deploys.map((each) => ({ at: Date.parse(each.at) / 1000, label: (each.rollback ? "back to " : "") + named(each.release) }));
  } catch {
    return [];
  }
}
