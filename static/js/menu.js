/**
 * The navigation shows where one is, also where it does not fit. The menu of the signed-in user
 * closes on Escape, and when something else is used.
 */
const show = (link, inline) =>
  link?.scrollIntoView({ behavior: "instant", block: "nearest", inline });

for (const navigation of document.querySelectorAll(".mainnav, .subnav")) {
  show(navigation.querySelector("[aria-current]"), "center");
  // Browsers leave a link where it is that is cut off in part.
  navigation.addEventListener("focusin", (event) => show(event.target, "nearest"));
}

const menu = document.querySelector("[data-menu]");

if (menu) {
  document.addEventListener("click", (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  menu.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
  });
}
