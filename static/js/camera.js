/**
 * Photos with a camera of this computer, in a dialog. Phones have an input of their own for it.
 * Browsers give a camera only to pages that came over a safe connection.
 */
const JPEG_QUALITY = 0.95;

/**
 * @param {HTMLButtonElement} button opens the dialog; shown where a camera can be had
 * @param {HTMLDialogElement} dialog
 * @param {(file: File) => void} onPhoto
 */
export function wireCamera(button, dialog, onPhoto) {
  if (!window.isSecureContext || !navigator.mediaDevices?.getUserMedia) return;
  const video = dialog.querySelector("video");
  const shutter = dialog.querySelector("[data-shutter]");
  const message = dialog.querySelector("[data-message]");
  let stream = null;
  let taken = 0;

  async function open() {
    taken = 0;
    message.textContent = "";
    shutter.disabled = true;
    dialog.showModal();
    try {
      const wanted = { video: { facingMode: "environment", width: { ideal: 3840 } } };
      stream = await navigator.mediaDevices.getUserMedia(wanted);
    } catch (error) {
      const refused = error.name === "NotAllowedError";
      message.textContent = refused ? dialog.dataset.refused : dialog.dataset.missing;
      return;
    }
    if (!dialog.open) {
      stop(); // closed while the browser was still asking
      return;
    }
    video.srcObject = stream;
    await video.play();
    shutter.disabled = false;
  }

  function stop() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    video.srcObject = null;
  }

  function shoot() {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob(
      (blob) => {
        taken += 1;
        onPhoto(new File([blob], `photo-${Date.now()}.jpg`, { type: "image/jpeg" }));
        message.textContent = dialog.dataset.taken.replace("{count}", taken);
      },
      "image/jpeg",
      JPEG_QUALITY,
    );
  }

  button.hidden = false;
  button.addEventListener("click", open);
  shutter.addEventListener("click", shoot);
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", stop);
}
