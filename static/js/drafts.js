/**
 * What was written and not yet sent survives being signed off. It is kept only when the session has
 * ended, in this tab, and shown once: on the page that the same user comes to by signing in again.
 * So what was written of one patient never appears in the form of the next.
 *
 * A control takes part through `data-draft="name"`.
 */
const PREFIX = "firstlook-draft:";
const user = document.getElementById("session-dialog").dataset.user;
const own = `${PREFIX}${user}:`;

/** Keep what is on this page for when the user is back. */
export function keepDrafts() {
  for (const control of document.querySelectorAll("[data-draft]")) {
    if (control.value) sessionStorage.setItem(own + control.dataset.draft, control.value);
  }
}

function takeDrafts() {
  const keys = Object.keys(sessionStorage).filter((key) => key.startsWith(PREFIX));
  const drafts = new Map(keys.map((key) => [key, sessionStorage.getItem(key)]));
  keys.forEach((key) => sessionStorage.removeItem(key));
  return drafts;
}

const drafts = takeDrafts();
for (const control of document.querySelectorAll("[data-draft]")) {
  const kept = drafts.get(own + control.dataset.draft);
  if (kept && control.value === "") control.value = kept;
}
