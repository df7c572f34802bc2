/**
 * The reading task that a form asks for; empty while none is chosen.
 *
 * @param {HTMLFormElement} form
 */
export function chosenReadingTask(form) {
  return form.elements.reading_task.value;
}

/**
 * What concerns the chosen reading task: its description, and fields that only some tasks ask for.
 * While none is chosen, all descriptions are shown and none of these fields. Without script all are.
 *
 * @param {HTMLFormElement} form
 */
export function describeReadingTask(form) {
  const chosen = chosenReadingTask(form);
  for (const description of form.querySelectorAll("[data-about-task]")) {
    description.hidden = chosen !== "" && description.dataset.aboutTask !== chosen;
  }
  for (const part of form.querySelectorAll("[data-asked-for]")) {
    part.hidden = !part.dataset.askedFor.split(" ").includes(chosen);
  }
}
