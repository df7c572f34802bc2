/**
 * What was written and not yet sent survives being signed off. It is kept only when the session has
 * ended, in this tab, and shown once: at the same address, when the same user has signed in again,
 * with a notice that it is from before.
 *
 * All of it is shown or nothing: a note never stands beside another patient than it was written of.
 *
 * A control takes part through `data-draft="name"`; the notice is `data-draft-notice`.
 */
const PREFIX = "firstlook-draft:";
const user = document.getElementById("session-dialog").dataset.user;
const own = `${PREFIX}${user}:${location.pathname}`;
let isSigningOut = false;

/** Keep what is on this page for when the user is back; not for someone who signs out. */
export function keepDrafts() {
  const draft = controls().map(({ dataset, value }) => [dataset.draft, value]);
  if (isSigningOut || !draft.some(([, value]) => value)) return;
  sessionStorage.setItem(own, JSON.stringify(draft));
}

function controls() {
  return [...document.querySelectorAll("[data-draft]")];
}

function takeDraft() {
  const kept = sessionStorage.getItem(own);
  Object.keys(sessionStorage)
    .filter((key) => key.startsWith(PREFIX))
    .forEach((key) => sessionStorage.removeItem(key));
  return new Map(JSON.parse(kept ?? "[]"));
}

/** @returns {boolean} whether it is all there now; if not, nothing is */
function restore(draft) {
  const places = controls();
  const isElsewhere = places.length !== draft.size || places.some(({ value }) => value !== "");
  if (isElsewhere) return false;
  for (const place of places) place.value = draft.get(place.dataset.draft) ?? "";
  const isWhole = places.every(({ dataset, value }) => value === draft.get(dataset.draft));
  if (!isWhole) empty();
  return isWhole;
}

function empty() {
  for (const place of controls()) place.value = "";
}

/** Say that this is from before, until it is kept or discarded. */
function showNotice() {
  const notice = document.querySelector("[data-draft-notice]");
  const close = () => {
    notice.hidden = true;
    controls()[0].focus();
  };
  notice.querySelector("[data-draft-keep]").addEventListener("click", close);
  notice.querySelector("[data-draft-discard]").addEventListener("click", () => {
    empty();
    close();
  });
  notice.hidden = false;
}

for (const form of document.querySelectorAll("[data-sign-out]")) {
  form.addEventListener("submit", () => {
    isSigningOut = true;
  });
}
const draft = takeDraft();
if (draft.size && restore(draft)) showNotice();
