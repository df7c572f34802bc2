/**
 * DICOM files, which browsers cannot show: the server tells how one looks and what it says of the
 * case, and that goes into fields that are still empty.
 */
import { csrfToken } from "./http.js";

const BLANK = ["", "unknown"];

/**
 * @param {File} file
 * @returns {Promise<boolean>} whether it is such a file, by the word that stands after its preamble
 */
export async function isDicom(file) {
  try {
    return (await file.slice(128, 132).text()) === "DICM";
  } catch {
    return false; // the file went away; sending it will say so
  }
}

/**
 * @param {string} url
 * @param {File} file
 * @returns {Promise<{refusal?: string, fields?: Record<string, string>, thumbnail?: Blob}>}
 *   nothing where the server cannot tell: it looks again when the form arrives
 */
export async function lookInto(url, file) {
  const data = new FormData();
  data.append("image", file);
  const headers = { Accept: "application/json", "X-CSRFToken": csrfToken() };
  try {
    const response = await fetch(url, { method: "POST", headers, body: data });
    if (!response.ok) return {};
    const { thumbnail, ...told } = await response.json();
    return thumbnail ? { ...told, thumbnail: asBlob(thumbnail) } : told;
  } catch {
    return {};
  }
}

function asBlob(base64) {
  return new Blob([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))]);
}

/**
 * @param {HTMLFormElement} form
 * @param {Record<string, string>} fields values by the names of fields
 * @returns {string[]} the labels of the fields that were filled in
 */
export function fillBlanks(form, fields) {
  const filled = [];
  for (const [name, value] of Object.entries(fields)) {
    const control = form.elements[name];
    if (!control || !BLANK.includes(control.value)) continue;
    const former = control.value;
    control.value = value;
    if (control.value !== value) control.value = former; // a choice that is not offered
    else if (!control.closest("[hidden]")) filled.push(control.labels[0].firstChild.textContent.trim());
  }
  return filled;
}
