/**
 * The reading task that a form asks for; empty while none is chosen.
 *
 * @param {HTMLFormElement} form
 */
export function chosenReadingTask(form) {
  return form.elements.reading_task.value;
}

/**
 * What concerns the chosen reading task: its description, and fields that its model reads. While
 * none is chosen all are shown, as without script.
 *
 * @param {HTMLFormElement} form
 */
export function describeReadingTask(form) {
  const chosen = chosenReadingTask(form);
  for (const part of form.querySelectorAll("[data-about-task]")) {
    part.hidden = chosen !== "" && !part.dataset.aboutTask.split(" ").includes(chosen);
  }
}
