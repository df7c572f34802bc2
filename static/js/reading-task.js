/**
 * What the chosen reading task is for. While none is chosen all are described, as without script.
 *
 * @param {HTMLFormElement} form
 */
export function describeReadingTask(form) {
  const chosen = form.querySelector("[data-reading-task]").value;
  for (const line of form.querySelectorAll("[data-about-task]")) {
    line.hidden = chosen !== "" && line.dataset.aboutTask !== chosen;
  }
}
