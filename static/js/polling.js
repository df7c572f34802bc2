/**
 * Parts of a page that ask for themselves again: the page is left alone while they say the same,
 * and a change is read out once.
 *
 * A part that wants to be read out carries `data-announce="sentence"`.
 */
const seen = new Map();
const live = document.getElementById("live");
let said = sentences();

function sentences() {
  return [...document.querySelectorAll("[data-announce]")].map((part) => part.dataset.announce);
}

document.addEventListener("htmx:beforeSwap", (event) => {
  const { target, xhr } = event.detail;
  if (seen.get(target.id) === xhr.responseText) event.detail.shouldSwap = false;
  seen.set(target.id, xhr.responseText);
});
document.addEventListener("htmx:afterSettle", () => {
  const fresh = sentences().filter((sentence) => !said.includes(sentence));
  said = sentences();
  if (fresh.length) live.textContent = fresh.join(". ");
});
