/** Requests to our own server that change something carry the page's CSRF token. */

/** @returns {string} the token that the server wrote into this page */
export function csrfToken() {
  return document.querySelector('meta[name="csrf-token"]').content;
}

/**
 * Send JSON.
 * @param {string} url
 * @param {object} body
 * @returns {Promise<Response>}
 */
export function postJson(url, body) {
  return fetch(url, {
    method: "POST",
    headers: {
      Accept: "application/json",
      "Content-Type": "application/json",
      "X-CSRFToken": csrfToken(),
    },
    body: JSON.stringify(body),
  });
}
