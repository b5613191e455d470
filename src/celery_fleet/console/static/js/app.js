// What every page does: theme, dialogs, keys, flash messages, times that tick. Without it all forms and links work, too.

import "./copy.js";

// --- theme: as the system, light, dark; a cookie tells the server, so that the next page comes in its colours ----------

const THEMES = ["", "light", "dark"];
const THEME_NAMES = { "": "as the system", light: "light", dark: "dark" };
const YEAR = 365 * 24 * 3600;

function showTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  for (const button of document.querySelectorAll("[data-theme-switch]")) {
    button.hidden = false;
    button.setAttribute("aria-label", `Theme: ${THEME_NAMES[theme]}`);
    button.title = `Theme: ${THEME_NAMES[theme]}`;
  }
  document.dispatchEvent(new CustomEvent("fleet:theme"));
}

document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-theme-switch]")) return;
  const now = document.documentElement.dataset.theme || "";
  // The first click is to change what is seen.
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const order = dark ? ["", "light", "dark"] : ["", "dark", "light"];
  const next = order[(order.indexOf(now) + 1) % THEMES.length];
  document.cookie = `fleet_theme=${next}; path=/; max-age=${next ? YEAR : 0}; samesite=strict`;
  showTheme(next);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
  document.dispatchEvent(new CustomEvent("fleet:theme")),
);
showTheme(document.documentElement.dataset.theme || "");

// --- forms: ask before what is not to be undone, send each once -----------------------------------------------------------

const confirmDialog = document.getElementById("confirm");

function ask(about) {
  const { confirm, confirmDetail = "", confirmButton = "Yes", confirmTone = "", confirmReason = "" } = about;
  const input = confirmDialog.querySelector("#confirm-input");
  const yes = confirmDialog.querySelector("[data-confirm-yes]");
  confirmDialog.querySelector("#confirm-title").textContent = confirm;
  confirmDialog.querySelector("#confirm-detail").textContent = confirmDetail;
  yes.textContent = confirmButton;
  yes.classList.toggle("button-bad", confirmTone === "bad");
  confirmDialog.querySelector("[data-confirm-field]").hidden = !confirmReason;
  input.value = "";
  confirmDialog.returnValue = "";
  confirmDialog.showModal();
  (confirmReason ? input : yes).focus();
  return new Promise((resolve) =>
    confirmDialog.addEventListener("close", () => resolve(confirmDialog.returnValue === "yes" && { reason: input.value }), { once: true }),
  );
}

// Enter in a field presses the first button, and that is Back.
confirmDialog?.querySelector("#confirm-input").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing) return;
  event.preventDefault();
  confirmDialog.close("yes");
});

const confirmed = new WeakSet();
const sent = new WeakSet();

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.method !== "post" || event.defaultPrevented) return;
  const { submitter } = event;
  const about = submitter?.dataset.confirm ? submitter.dataset : form.dataset;
  if (about.confirm && confirmDialog && !confirmed.has(form)) {
    event.preventDefault();
    const answer = await ask({ ...about });
    if (answer) {
      if (about.confirmReason) form.elements[about.confirmReason].value = answer.reason;
      confirmed.add(form);
      // The form may have been brought up to date meanwhile, and its button be another.
      form.requestSubmit(submitter && form.contains(submitter) ? submitter : undefined);
    }
    return;
  }
  confirmed.delete(form);
  if (sent.has(form)) {
    event.preventDefault();
    return;
  }
  sent.add(form);
  // Disabled at once, its own name and value would not be sent.
  setTimeout(() => {
    for (const button of form.querySelectorAll("button[type=submit], button:not([type])")) {
      button.setAttribute("aria-disabled", "true");
      if (button === submitter) button.setAttribute("aria-busy", "true");
    }
  });
});

window.addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  // Back from another page: what was sent may be sent anew.
  for (const form of document.forms) {
    sent.delete(form);
    for (const button of form.querySelectorAll("[aria-busy], [aria-disabled]")) {
      button.removeAttribute("aria-busy");
      button.removeAttribute("aria-disabled");
    }
  }
});

// --- flash messages -----------------------------------------------------------------------------------------------------------

const TOAST_TIME = 8000;
for (const toast of document.querySelectorAll("[data-toast]")) {
  const button = toast.querySelector("[data-dismiss]");
  button.hidden = false;
  button.addEventListener("click", () => toast.remove());
  // A failure stays until it is read.
  if (toast.dataset.tone !== "bad") {
    let timer = setTimeout(() => toast.remove(), TOAST_TIME);
    toast.addEventListener("pointerenter", () => clearTimeout(timer));
    toast.addEventListener("pointerleave", () => (timer = setTimeout(() => toast.remove(), TOAST_TIME)));
  }
}

// --- keys ------------------------------------------------------------------------------------------------------------------------

const CHORD_TIME = 1200;
let chord = 0;

function inText(target) {
  return target.closest?.("input, textarea, select, [contenteditable]");
}

function openKeys() {
  document.getElementById("keys")?.showModal();
}

function step(by) {
  const links = [...document.querySelectorAll("[data-row] [data-open]")].filter((link) => link.offsetParent);
  if (!links.length) return;
  const place = links.indexOf(document.activeElement);
  const next = place < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, place + by));
  links[next].focus();
  links[next].scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || inText(event.target) || document.querySelector("dialog[open]")) return;
  if (event.timeStamp - chord < CHORD_TIME) {
    chord = 0;
    const page = document.querySelector(`.nav a[title="g ${CSS.escape(event.key)}"]`);
    if (page) {
      event.preventDefault();
      page.click();
      return;
    }
  }
  if (event.key === "g") chord = event.timeStamp;
  else if (event.key === "?") openKeys();
  else if (event.key === "j") step(1);
  else if (event.key === "k") step(-1);
  else if (event.key === "/") {
    const search = document.querySelector("[data-search]");
    if (!search) return;
    event.preventDefault();
    search.focus();
    search.select();
  }
});
for (const button of document.querySelectorAll("[data-keys]")) button.addEventListener("click", openKeys);

// --- times that tick, and the page again where Redis was away ------------------------------------------------------------------------

const UNITS = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];

function ago(at) {
  const seconds = Date.now() / 1000 - at;
  const distance = Math.abs(seconds);
  if (distance < 1) return "now";
  const [size, unit] = UNITS.find(([each]) => distance >= each);
  const text = `${Math.floor(distance / size)}\u00a0${unit}`;
  return seconds >= 0 ? `${text} ago` : `in ${text}`;
}

setInterval(() => {
  if (document.hidden) return;
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const text = ago(Number(time.dataset.ago));
    if (time.textContent !== text) time.textContent = text;
  }
}, 1000);

const retry = document.querySelector("[data-retry]");
if (retry) setTimeout(() => location.reload(), 1000 * Number(retry.dataset.retry));

// The page that one is on is seen in the strip of a phone.
document.querySelector(".nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
