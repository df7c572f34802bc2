/**
 * The form of a new case with script: images dropped, pasted, chosen or photographed gather in a
 * list with previews, and are sent with real progress. Without script the same form works as the
 * browser has it.
 */
import { wireCamera } from "./camera.js";
import { fillBlanks, isDicom, lookInto } from "./dicom.js";
import { keepDrafts } from "./drafts.js";
import { confirmDuplicates, duplicateWarnings } from "./duplicates.js";
import { ImageList } from "./image-list.js";
import { suggestLesions } from "./known-lesions.js";
import { describeReadingTask } from "./reading-task.js";
import { send } from "./send.js";

const form = document.querySelector("[data-new-case]");
const dropzone = form.querySelector("[data-dropzone]");
const input = form.querySelector("[data-images-input]");
const sendButton = form.querySelector("[data-send]");
const progress = form.querySelector("[data-progress]");
const bar = progress.querySelector("progress");
const status = progress.querySelector("[data-progress-text]");
const duplicatesDialog = document.getElementById("duplicates");

const images = new ImageList(
  form.querySelector("[data-image-list]"),
  document.getElementById("image-item"),
  () => {
    const count = images.items.length;
    status.textContent = count ? form.dataset.chosen.replace("{count}", count) : "";
  },
  (item) => {
    looking = looking.then(() => takeOverFromDicom(item));
  },
);
let looking = Promise.resolve(); // one file after the other: each takes the server a while

/** Show what browsers cannot, and fill in what the file tells. */
async function takeOverFromDicom(item) {
  if (item.file.size > images.maxBytes || !(await isDicom(item.file))) return;
  const { refusal, thumbnail, fields } = await lookInto(form.dataset.dicomUrl, item.file);
  if (!images.items.includes(item)) return; // taken off meanwhile
  item.refusal = refusal ?? "";
  images.check();
  if (thumbnail) images.showPreview(item, thumbnail);
  const filled = fillBlanks(form, fields ?? {});
  if (!filled.length) return;
  const place = form.querySelector("[data-told]");
  const names = new Intl.ListFormat(document.documentElement.lang).format(filled);
  const sentence = place.dataset.sentence.replace("{file}", () => item.file.name);
  place.textContent = sentence.replace("{fields}", () => names);
}

function wireDropzone() {
  dropzone.classList.add("dropzone--live");
  for (const chooser of dropzone.querySelectorAll('input[type="file"]')) {
    const take = () => {
      images.add(chooser.files);
      chooser.value = "";
    };
    chooser.addEventListener("change", take);
    if (chooser.files.length) take(); // chosen before this script was there
  }
  // The whole page takes what is dropped: a browser would else leave the form and show the file.
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    dropzone.classList.add("dropzone--over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) dropzone.classList.remove("dropzone--over"); // left the window
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    dropzone.classList.remove("dropzone--over");
    images.add(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) images.add(event.clipboardData.files);
  });
  wireCamera(
    dropzone.querySelector("[data-camera]"),
    document.getElementById("camera"),
    (file) => images.add([file]),
  );
}

async function submit(event) {
  event.preventDefault();
  if (form.hasAttribute("aria-busy")) return;
  if (!images.isAcceptable) {
    // What stands against a file is said beside it, which may be out of sight.
    form.querySelector("[data-error]:not(:empty)")?.closest("li").querySelector("button").focus();
    return;
  }
  busy(true);
  const data = new FormData(form);
  data.delete("images");
  images.items.forEach((item) => data.append("images", item.file));
  try {
    if (!data.get("confirm_duplicates") && !(await mayBeSent(data))) return;
    const request = await send(form, data, showProgress);
    answered(request);
  } catch {
    status.textContent = form.dataset.unreachable;
  } finally {
    busy(false);
  }
}

/** Warn of images that are filed for another patient; what was decided goes into the form. */
async function mayBeSent(data) {
  const site = data.get("site_id") ?? form.dataset.onlySite; // one site is not asked for
  const patient = { site, identifier: data.get("identifier").trim() };
  const warnings = await duplicateWarnings(form.dataset.checkUrl, images.items, patient);
  if (!warnings.length) return true;
  const confirmed = await confirmDuplicates(duplicatesDialog, warnings);
  if (confirmed) data.set("confirm_duplicates", "y");
  return confirmed;
}

function showProgress(fraction) {
  bar.hidden = false;
  bar.value = fraction;
  const percent = Math.floor(fraction * 10) * 10; // in steps, since each one is read out
  const text = fraction < 1 ? form.dataset.sending.replace("{percent}", percent) : form.dataset.checking;
  if (status.textContent !== text) status.textContent = text;
}

function busy(isBusy) {
  form.toggleAttribute("aria-busy", isBusy);
  sendButton.disabled = isBusy;
  if (!isBusy) bar.hidden = true;
}

/** The server says where the new case is, what is wrong with the form, or what went wrong. */
function answered(request) {
  if (request.status === 401) {
    keepDrafts(); // signed off meanwhile
    location.assign(location.pathname);
    return;
  }
  const type = request.getResponseHeader("Content-Type") ?? "";
  if (!type.includes("json")) {
    const page = new DOMParser().parseFromString(request.responseText, "text/html");
    showRefusal(page.querySelector("[data-new-case]"));
    return;
  }
  const answer = JSON.parse(request.responseText);
  if (answer.error) {
    status.textContent = answer.error.sentence;
    return;
  }
  location.assign(answer.location);
}

/** Take over from the refused form what it says; the images stay chosen. */
function showRefusal(answered) {
  for (const place of answered.querySelectorAll("[data-slot], [data-field]:not([data-slot] *)")) {
    const { slot, field } = place.dataset;
    const selector = slot ? `[data-slot="${slot}"]` : `[data-field="${field}"]`;
    form.querySelector(selector)?.replaceWith(document.importNode(place, true));
  }
  for (const hidden of answered.querySelectorAll('input[type="hidden"][name]')) {
    form.elements[hidden.name].value = hidden.value;
  }
  describeReadingTask(form);
  moveErrorsToImages();
  status.textContent = "";
  (form.querySelector("[data-error-summary]") ?? form).focus();
}

/** A sentence that begins with the name of a file is shown at that file. */
function moveErrorsToImages() {
  const sentences = new Map();
  for (const line of form.querySelectorAll('[data-slot="image-errors"] p')) {
    const position = images.items.findIndex(
      ({ file }, index) => !sentences.has(index) && line.textContent.startsWith(`${file.name}: `),
    );
    if (position < 0) continue;
    const name = images.items[position].file.name;
    sentences.set(position, line.textContent.slice(name.length + 2));
    line.remove();
  }
  images.showErrors(sentences);
}

/** What stood against a field is not true any more of what it holds now. */
function forgetErrors({ target }) {
  target.classList.remove("is-invalid");
  target.removeAttribute("aria-invalid");
  target.closest("[data-field]")?.querySelector(".field__errors")?.remove();
  if (target.type === "file") form.querySelector('[data-slot="image-errors"]').replaceChildren();
}

wireDropzone();
describeReadingTask(form);
form.addEventListener("change", () => describeReadingTask(form));
form.addEventListener("change", forgetErrors);
suggestLesions(form);
form.addEventListener("submit", submit);
