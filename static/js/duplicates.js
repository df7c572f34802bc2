/** Asks, before anything is sent, whether an image is already filed for another patient. */
import { postJson } from "./http.js";

/**
 * @param {string} url
 * @param {import("./image-list.js").Item[]} items
 * @param {{site: string, identifier: string}} patient
 * @returns {Promise<string[]>} one sentence a warning; none where nothing can be told
 */
export async function duplicateWarnings(url, items, patient) {
  const hashes = await Promise.all(items.map((item) => item.sha256));
  const known = hashes.filter((hash) => hash !== null);
  if (!known.length || !patient.site || !patient.identifier) return [];
  try {
    const response = await postJson(url, {
      sha256s: known,
      site_id: Number(patient.site),
      identifier: patient.identifier,
    });
    if (!response.ok) return [];
    const { warnings } = await response.json();
    return warnings.map((warning) => {
      const file = items[hashes.indexOf(warning.sha256)]?.file.name ?? "";
      return `${file}: ${warning.sentence}`;
    });
  } catch {
    return []; // the server checks again when the form arrives
  }
}

/**
 * @param {HTMLDialogElement} dialog
 * @param {string[]} warnings
 * @returns {Promise<boolean>} whether to send all the same
 */
export function confirmDuplicates(dialog, warnings) {
  const list = dialog.querySelector("[data-warnings]");
  list.replaceChildren(
    ...warnings.map((sentence) => {
      const entry = document.createElement("li");
      entry.textContent = sentence;
      return entry;
    }),
  );
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "send"), { once: true });
  });
}
