/**
 * Moves from case to case by single keys. They leave fields and open dialogs alone, and can be
 * switched off, since single keys get in the way of those who speak to their computer.
 */
const KEPT_AS = "worklist-keys";
const STEPS = { j: 1, k: -1, ArrowDown: 1, ArrowUp: -1 };
const TAKES_KEYS = "input, select, textarea, [contenteditable], dialog";
const opener = document.querySelector("[data-keys-help]");
const dialog = document.getElementById("keys-dialog");
const choice = dialog.querySelector("input");

choice.checked = localStorage.getItem(KEPT_AS) !== "off";
choice.addEventListener("change", () => {
  localStorage.setItem(KEPT_AS, choice.checked ? "on" : "off");
});
opener.hidden = false;
opener.addEventListener("click", () => dialog.showModal());

/** @returns {boolean} whether there was a case to move to */
function move(step, isArrow) {
  const links = [...document.querySelectorAll(".case-row__link")];
  const current = links.indexOf(document.activeElement);
  // Arrows scroll the page until a case has the focus.
  if (current < 0 && isArrow) return false;
  const next = links[current < 0 && step < 0 ? links.length - 1 : current + step];
  next?.focus();
  return Boolean(next);
}

document.addEventListener("keydown", (event) => {
  if (!choice.checked || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest(TAKES_KEYS) || document.querySelector("dialog[open]")) return;
  if (event.key === "?") {
    event.preventDefault();
    dialog.showModal();
  } else if (event.key in STEPS && move(STEPS[event.key], event.key.startsWith("Arrow"))) {
    event.preventDefault();
  }
});
