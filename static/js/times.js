/**
 * Moments in the reader's own time zone. The server writes them in UTC; here the exact ones, and
 * those shown on hover, are written anew, and "3 minutes ago" or "in 4 hours" is kept true.
 */
const language = document.documentElement.lang;
// English with the day before the month, as the server writes it.
const exact = new Intl.DateTimeFormat(language === "en" ? "en-GB" : language, {
  day: "numeric",
  month: "short",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
  timeZoneName: "short",
});
const relative = new Intl.RelativeTimeFormat(language, { numeric: "always" });
const UNITS = [
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
];
const REFRESH_MS = 30_000;
const WEEK_SECONDS = 7 * 86400;

function write(element) {
  const moment = new Date(element.dateTime);
  element.title = exact.format(moment);
  if (element.dataset.time === "absolute") {
    element.textContent = element.title;
    return;
  }
  const ageSeconds = (Date.now() - moment) / 1000;
  const unit = UNITS.find(([, seconds]) => Math.abs(ageSeconds) >= seconds);
  if (unit && Math.abs(ageSeconds) < WEEK_SECONDS) {
    element.textContent = relative.format(-Math.round(ageSeconds / unit[1]), unit[0]);
  }
}

function writeAll(root = document) {
  root.querySelectorAll("time[data-time]").forEach(write);
}

writeAll();
setInterval(writeAll, REFRESH_MS);
document.addEventListener("htmx:load", (event) => writeAll(event.target));
