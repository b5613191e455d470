// `<button data-copy="id">` copies the text of the element with this id.

async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // Not allowed here: the old way may be.
    }
  }
  // Over plain HTTP there is no clipboard but this.
  const box = document.createElement("textarea");
  box.value = text;
  box.className = "visually-hidden";
  box.setAttribute("aria-hidden", "true");
  const host = document.querySelector("dialog[open]") || document.body;
  const focused = document.activeElement;
  host.append(box);
  box.select();
  try {
    return document.execCommand("copy");
  } finally {
    box.remove();
    focused?.focus?.();
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  if (!source) return;
  const done = await copy(source.textContent);
  const label = button.querySelector("[data-copy-label]") || button;
  button.dataset.copyText ??= label.textContent;
  label.textContent = done ? "Copied" : "Press Ctrl+C";
  if (!done) document.getSelection().selectAllChildren(source);
  clearTimeout(Number(button.dataset.copyTimer));
  button.dataset.copyTimer = setTimeout(() => (label.textContent = button.dataset.copyText), 1600);
});
