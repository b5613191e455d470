// The charts of a page: `<section data-charts="address">` holds a switch of windows and `[data-chart]` cards.

import { formats } from "./live.js";
import { attend, coloursOf, deployments, draw, level } from "./plots.js";

const WINDOW_KEY = "fleet.window";
const AGAIN = 10_000; // milliseconds at the least until the figures are read again
const PATIENCE = 10_000;
const MOST_QUEUES = 6;

const section = document.querySelector("[data-charts]");

// --- what each chart shows ---------------------------------------------------------------------------------------------------

/** Counts of steps as tasks a minute; a step that is not over yet would look like a drop. */
function aMinute(values, { at, step }) {
  const now = Date.now() / 1000;
  return values.map((value, place) => (value === null || at[place] + step > now ? null : (value * 60) / step));
}

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
      ...(data.target ? [level(`target: ${formats.duration(data.target)}`, data.target, data.at.length)] : []),
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
          level(`${urgency}: ${formats.duration(seconds)}`, seconds, data.at.length),
        ),
      ],
    };
  },
};

// --- the section -------------------------------------------------------------------------------------------------------------------------

let data = null;
let marks = [];
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
  for (const card of section.querySelectorAll("[data-chart]")) {
    draw(card, { ...KINDS[card.dataset.chart](data), marks }, data.at);
  }
}

async function read() {
  if (reading || document.hidden) return;
  reading = true;
  try {
    const asked = minutes;
    const query = new URLSearchParams({ minutes: asked, ...(section.dataset.queue ? { queue: section.dataset.queue } : {}) });
    const [answer, deploys] = await Promise.all([
      fetch(`${section.dataset.charts}?${query}`, { signal: AbortSignal.timeout(PATIENCE) }),
      deployments(),
    ]);
    if (!answer.ok) throw new Error(String(answer.status));
    const found = chosen(await answer.json());
    if (asked === minutes) {
      [data, marks] = [found, deploys];
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

if (section && window.uPlot) {
  choose(minutes);
  for (const button of section.querySelectorAll("[data-minutes]")) {
    button.addEventListener("click", () => {
      choose(Number(button.dataset.minutes));
      read();
    });
  }
  attend(section);
  document.addEventListener("fleet:overview", () => {
    if (performance.now() - readAt >= Math.max(AGAIN, (data?.step ?? 0) * 1000)) read();
  });
  read();
}
