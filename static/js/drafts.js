/**
 * What was written and not yet sent survives being signed off. It is kept only when the session has
 * ended, in this tab, and shown once: in the same form, when the same user has signed in again, with
 * a notice that it is from before.
 *
 * A form takes part through `data-draft-form="basis"`, which says what it is filled in on: the
 * patient, what was read and what is signed. On another basis it is not shown: nothing ever stands
 * beside another patient than it was written of. All of a form is shown or nothing.
 *
 * All of its controls are kept; where some carry `data-draft="name"`, only these, and they have to be
 * blank to be filled. The notices are `data-draft-notice` and, for what is not shown,
 * `data-draft-lost`.
 */
const PREFIX = "firstlook-draft:";
const user = document.getElementById("session-dialog").dataset.user;
const own = `${PREFIX}${user}:`;
let isSigningOut = false;

/** Keep what is on this page for when the user is back; not for someone who signs out. */
export function keepDrafts() {
  if (isSigningOut) return;
  for (const form of forms()) {
    if (!isBegun(form)) continue;
    const controls = controlsOf(form).map((control) => [nameOf(control), valueOf(control)]);
    const draft = { basis: form.dataset.draftForm, controls };
    sessionStorage.setItem(keyOf(form), JSON.stringify(draft));
  }
}

function forms() {
  return [...document.querySelectorAll("[data-draft-form]")];
}

/** What a form is for: it is sent to the same address from every page that has it. */
function keyOf(form) {
  return own + new URL(form.action).pathname;
}

function controlsOf(form) {
  const marked = form.querySelectorAll("[data-draft]");
  const typed = (control) => control.name && !["file", "hidden", "submit"].includes(control.type);
  return marked.length ? [...marked] : [...form.elements].filter(typed);
}

function isTick(control) {
  return control.type === "radio" || control.type === "checkbox";
}

function nameOf(control) {
  return control.dataset.draft ?? (isTick(control) ? `${control.name}=${control.value}` : control.name);
}

function valueOf(control) {
  return isTick(control) ? control.checked : control.value;
}

function setValue(control, value) {
  if (isTick(control)) control.checked = value;
  else control.value = value;
}

/** What a control has before somebody touches it. */
function givenTo(control) {
  if (control.dataset.draft) return "";
  if (isTick(control)) return control.defaultChecked;
  if (!control.options) return control.defaultValue;
  const options = [...control.options];
  return (options.find((option) => option.defaultSelected) ?? options[0])?.value ?? "";
}

function isUntouched(form) {
  return controlsOf(form).every((control) => valueOf(control) === givenTo(control));
}

/** A form that was refused has in it, untouched, what somebody wrote. */
function isBegun(form) {
  const isRefused = form.querySelector("[data-error-summary]") !== null;
  return !isUntouched(form) || (isRefused && controlsOf(form).some(valueOf));
}

/** @returns {Map<string, object>} what was kept, which is forgotten now, of this user by form */
function takeDrafts() {
  const kept = Object.keys(sessionStorage).filter((key) => key.startsWith(PREFIX));
  const drafts = kept.filter((key) => key.startsWith(own)).map((key) => [key, sessionStorage.getItem(key)]);
  kept.forEach((key) => sessionStorage.removeItem(key));
  return new Map(drafts.map(([key, draft]) => [key, JSON.parse(draft)]));
}

/** @returns {boolean} whether it is all there now; if not, nothing is */
function restore(form, draft) {
  const controls = controlsOf(form);
  const values = new Map(draft.controls);
  const isSame = draft.basis === form.dataset.draftForm && controls.length === values.size;
  if (!isSame || !isUntouched(form)) return false;
  for (const control of controls) setValue(control, values.get(nameOf(control)));
  const isWhole = controls.every((control) => valueOf(control) === values.get(nameOf(control)));
  if (!isWhole) empty(form);
  return isWhole;
}

function empty(form) {
  for (const control of controlsOf(form)) setValue(control, givenTo(control));
}

/** Say that this is from before, until it is kept or discarded. */
function showNotice(restored) {
  const notice = document.querySelector("[data-draft-notice]");
  const close = () => {
    notice.hidden = true;
    controlsOf(restored[0])[0].focus();
  };
  notice.querySelector("[data-draft-keep]").addEventListener("click", close);
  notice.querySelector("[data-draft-discard]").addEventListener("click", () => {
    restored.forEach(empty);
    close();
  });
  notice.hidden = false;
}

/** Who signs out does so in all tabs, and leaves nothing in any, until they are back. */
const tabs = new BroadcastChannel("firstlook-signing-out");
tabs.addEventListener("message", ({ data }) => {
  if (data.user === user) isSigningOut = data.isSigningOut;
});
tabs.postMessage({ user, isSigningOut });
for (const form of document.querySelectorAll("[data-sign-out]")) {
  form.addEventListener("submit", () => {
    isSigningOut = true;
    tabs.postMessage({ user, isSigningOut });
  });
}
const drafts = takeDrafts();
const written = forms().filter((form) => drafts.has(keyOf(form)));
const restored = written.filter((form) => restore(form, drafts.get(keyOf(form))));
for (const form of restored) {
  const folded = form.closest("details");
  if (folded) folded.open = true;
}
if (restored.length) showNotice(restored);
const lost = document.querySelector("[data-draft-lost]");
if (lost) lost.hidden = restored.length === written.length;
