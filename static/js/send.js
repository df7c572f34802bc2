/** Sends a form with its files, and tells how far it got; `fetch` cannot tell that. */

/**
 * @param {HTMLFormElement} form
 * @param {FormData} data
 * @param {(fraction: number) => void} onProgress
 * @returns {Promise<XMLHttpRequest>} when the server has answered
 */
export function send(form, data, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.setRequestHeader("X-Requested-With", "XMLHttpRequest");
    request.setRequestHeader("Accept", "application/json");
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    request.addEventListener("load", () => resolve(request));
    request.addEventListener("error", () => reject(new Error("the server cannot be reached")));
    request.send(data);
  });
}
