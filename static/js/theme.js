/**
 * Light, dark, or as the device. The choice is a cookie, so that the server can write it into the
 * page and nothing flashes; no choice is no cookie.
 */
const YEAR_SECONDS = 365 * 24 * 3600;
const chooser = document.querySelector("[data-theme-choice]");

function choose(theme) {
  const root = document.documentElement;
  const meta = document.querySelector('meta[name="color-scheme"]');
  const secure = location.protocol === "https:" ? "; Secure" : "";
  if (theme) {
    root.dataset.bsTheme = theme;
    document.cookie = `theme=${theme}; Path=/; Max-Age=${YEAR_SECONDS}; SameSite=Lax${secure}`;
  } else {
    delete root.dataset.bsTheme;
    document.cookie = `theme=; Path=/; Max-Age=0; SameSite=Lax${secure}`;
  }
  meta.content = theme || "light dark";
}

if (chooser) {
  chooser.hidden = false;
  chooser.addEventListener("change", (event) => choose(event.target.value));
}
