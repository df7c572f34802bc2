/** Suggests the lesions that the patient has already, to be taken by their names. */
import { postJson } from "./http.js";
import { chosenReadingTask } from "./reading-task.js";

/**
 * Asks again whenever the site, the patient or the reading task of the form is another one.
 *
 * @param {HTMLFormElement} form
 */
export function suggestLesions(form) {
  const list = document.getElementById("known-lesions");
  if (!list) return; // nothing that is read here shows one
  let asked = "";
  const ask = async () => {
    const question = {
      site_id: Number(form.elements.site_id?.value ?? form.dataset.onlySite), // one is not asked for
      identifier: form.elements.identifier.value.trim(),
      reading_task_id: Number(chosenReadingTask(form)),
    };
    const text = JSON.stringify(question);
    if (text === asked || !Object.values(question).every(Boolean)) return;
    asked = text;
    const labels = await knownLabels(form.dataset.knownUrl, question);
    if (text === asked) list.replaceChildren(...labels.map((label) => new Option("", label)));
  };
  form.addEventListener("change", ask);
  ask();
}

async function knownLabels(url, question) {
  try {
    const response = await postJson(url, question);
    return response.ok ? (await response.json()).labels : [];
  } catch {
    return []; // any name can be typed all the same
  }
}
