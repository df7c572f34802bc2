/**
 * Moments and days in the reader's own time zone. The server writes them in UTC; here the exact
 * ones, those shown on hover and the days are written anew, and "3 minutes ago" or "in 4 hours" is
 * kept true.
 */
const language = document.documentElement.lang;
// English with the day before the month, as the server writes it.
const locale = language === "en" ? "en-GB" : language;
const dayParts = { day: "numeric", month: "short", year: "numeric" };
const day = new Intl.DateTimeFormat(locale, dayParts);
const exact = new Intl.DateTimeFormat(locale, {
  ...dayParts,
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
  const ageSeconds = (Date.now() - moment) / 1000;
  if (element.dataset.time === "absolute") {
    element.textContent = element.title;
  } else if (element.dataset.time === "day" || Math.abs(ageSeconds) >= WEEK_SECONDS) {
    element.textContent = day.format(moment);
  } else {
    const unit = UNITS.find(([, seconds]) => Math.abs(ageSeconds) >= seconds);
    if (unit) {
      element.textContent = relative.format(-Math.round(ageSeconds / unit[1]), unit[0]);
    }
  }
}

/** The day of a moment within a text that can hold no `<time>`. */
function writeDay(element) {
  const words = day.format(new Date(element.dataset.dayAt));
  element.textContent = element.textContent.replace(element.dataset.day, words);
  element.dataset.day = words;
}

function writeAll(root = document) {
  root.querySelectorAll("time[data-time]").forEach(write);
  root.querySelectorAll("[data-day-at]").forEach(writeDay);
}

writeAll();
setInterval(writeAll, REFRESH_MS);
document.addEventListener("htmx:load", (event) => writeAll(event.target));
