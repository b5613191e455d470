// Reads this page again every few seconds, as `data-refresh` says, and shows what is new in its `data-part`s.
//
// It waits while somebody is at work here: text is selected, a row is ticked, a dialog is open, or the tab is hidden.

import { morph } from "./morph.js";

const PATIENCE = 10_000; // milliseconds for one answer

function atWork() {
  const selection = document.getSelection();
  if (selection && !selection.isCollapsed) return true;
  return Boolean(document.querySelector("dialog[open], [data-part] [data-select]:checked"));
}

async function read() {
  const address = new URL(location.href);
  address.searchParams.set("fragment", "1"); // only the content
  address.hash = "";
  const answer = await fetch(address, {
    credentials: "same-origin",
    headers: { Accept: "text/html" },
    signal: AbortSignal.timeout(PATIENCE),
  });
  if (answer.redirected || !answer.ok) throw new Error(`answered ${answer.status}`);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

function show(page) {
  for (const part of document.querySelectorAll("[data-part]")) {
    const fresh = page.getElementById(part.id);
    if (fresh) morph(part, document.importNode(fresh, true));
  }
}

let timer = 0;

async function turn() {
  clearTimeout(timer);
  if (!document.hidden && !atWork()) {
    try {
      const page = await read();
      // Somebody may have begun while the answer was on its way.
      if (!atWork()) show(page);
    } catch {
      // The console or the network is away: what is shown stays, and the next turn tries again.
    }
  }
  plan();
}

function plan() {
  clearTimeout(timer);
  const part = document.querySelector("[data-refresh]"); // gone when there is nothing more to come
  if (part) timer = setTimeout(turn, 1000 * Math.max(1, Number(part.dataset.refresh) || 5));
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && document.querySelector("[data-refresh]")) turn();
});
plan();
