// Ticks of a table: one box for the whole page, Shift for a range, and how many are ticked beside the buttons.

function start(table) {
  const bar = document.getElementById(table.dataset.selection);
  if (!bar) return;
  const all = bar.querySelector("[data-select-all]");
  let last = null;
  const boxes = () => [...table.querySelectorAll("[data-select]")];

  function show() {
    const ticked = boxes().filter((box) => box.checked).length;
    all.checked = ticked > 0 && ticked === boxes().length;
    all.indeterminate = ticked > 0 && !all.checked;
    bar.dataset.ticked = ticked;
    bar.querySelector("[data-selected-text]").textContent = ticked ? `${ticked} ticked:` : "Those ticked:";
    for (const button of bar.querySelectorAll("[data-needs-selection]")) button.disabled = ticked === 0;
  }

  table.addEventListener("click", (event) => {
    const box = event.target.closest("[data-select]");
    if (!box) return;
    if (event.shiftKey && last && last !== box) {
      const list = boxes();
      const [first, end] = [list.indexOf(last), list.indexOf(box)].sort((a, b) => a - b);
      if (first >= 0) for (const between of list.slice(first, end + 1)) between.checked = box.checked;
    }
    last = box;
    show();
  });
  all.addEventListener("change", () => {
    for (const box of boxes()) box.checked = all.checked;
    show();
  });
  bar.querySelector("[data-select-page]").hidden = false;
  // The browser brings back ticks when one comes back to the page.
  window.addEventListener("pageshow", show);
  show();
}

for (const table of document.querySelectorAll("[data-selection]")) start(table);
