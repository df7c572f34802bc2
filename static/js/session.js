/**
 * Warns before a session that nobody uses ends, and leaves the page when it has ended.
 *
 * The server counts; this asks it how much is left (asking does not renew the session), first when
 * the warning could be due at the earliest, then when it says so.
 */
import { keepDrafts } from "./drafts.js";
import { postJson } from "./http.js";

const WARN_SECONDS = 120;
const SPOKEN_EVERY_SECONDS = 30;
const dialog = document.getElementById("session-dialog");
const { statusUrl, stayUrl } = dialog.dataset;
const shown = dialog.querySelector("[data-countdown]");
const spoken = dialog.querySelector("[data-countdown-spoken]");
let askTimer;
let tickTimer;
let endsAt = 0;
const inTime = new WeakSet();

/** Load this page again, or the one that a refused form came from: the server then asks to sign in,
 * and leads back there. */
function leave() {
  keepDrafts();
  location.assign(document.querySelector("[data-return]")?.dataset.return ?? location.pathname);
}

/** Send a form that was written for long only while the session lasts: an answer that asks to sign
 * in would lose what is in it. */
async function sendInTime(event) {
  const form = event.target;
  if (event.defaultPrevented || !form.matches("[data-draft-form]")) return;
  if (inTime.delete(form)) return;
  event.preventDefault();
  const left = await secondsLeft().catch(() => 1); // the server is away, which the browser will say
  if (left <= 0) {
    leave();
  } else {
    inTime.add(form);
    form.requestSubmit(event.submitter);
  }
}

async function secondsLeft() {
  const response = await fetch(statusUrl, { headers: { Accept: "application/json" } });
  if (response.status === 401) return 0;
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return (await response.json()).seconds_left;
}

async function ask() {
  let left;
  try {
    left = await secondsLeft();
  } catch {
    askIn(SPOKEN_EVERY_SECONDS); // the server is away; the session may well be alive
    return;
  }
  if (left <= 0) leave();
  else if (left <= WARN_SECONDS) warn(left);
  else {
    calm();
    askIn(left - WARN_SECONDS);
  }
}

function askIn(seconds) {
  clearTimeout(askTimer);
  askTimer = setTimeout(ask, seconds * 1000);
}

function warn(left) {
  endsAt = Date.now() + left * 1000;
  if (!dialog.open) dialog.showModal();
  clearInterval(tickTimer);
  tickTimer = setInterval(tick, 1000);
  tick();
  // Another tab may have renewed the session meanwhile.
  askIn(Math.min(left, SPOKEN_EVERY_SECONDS));
}

function calm() {
  clearInterval(tickTimer);
  if (dialog.open) dialog.close();
}

function tick() {
  const left = Math.max(0, Math.round((endsAt - Date.now()) / 1000));
  const text = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  shown.textContent = text;
  if (left % SPOKEN_EVERY_SECONDS === 0) {
    spoken.textContent = spoken.dataset.template.replace("{time}", text);
  }
  if (left === 0) ask();
}

async function stay() {
  const response = await postJson(stayUrl, {});
  if (!response.ok) leave();
  else await ask();
}

dialog.querySelector("[data-stay]").addEventListener("click", stay);
dialog.addEventListener("cancel", (event) => {
  event.preventDefault();
  stay();
});
// A fragment that is refused means the session has ended behind our back.
document.addEventListener("htmx:responseError", (event) => {
  if (event.detail.xhr.status === 401) leave();
});
document.addEventListener("submit", sendInTime);
// A laptop that slept does not run timers.
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") ask();
});
ask();
