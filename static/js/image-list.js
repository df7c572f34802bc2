/**
 * The images of a case before they are sent: each with a preview, its size, what is wrong with it,
 * and a way to take it off again.
 *
 * Previews are drawn on a canvas, so that no address of a local file is ever needed.
 */
const PREVIEW_PX = 192;

/**
 * @typedef {object} Item
 * @property {File} file
 * @property {HTMLElement} element
 * @property {Promise<string|null>} sha256 of the bytes; null where this browser cannot tell
 * @property {string} refusal why the server would not keep it, as far as it was asked
 */

export class ImageList {
  /**
   * @param {HTMLElement} list carries the sentences as data attributes
   * @param {HTMLTemplateElement} template of one item
   * @param {() => void} onChange
   * @param {(item: Item) => void} onAdd
   */
  constructor(list, template, onChange, onAdd) {
    this.list = list;
    this.template = template;
    this.onChange = onChange;
    this.onAdd = onAdd;
    this.maxBytes = Number(list.dataset.maxBytes);
    this.maxCount = Number(list.dataset.maxCount);
    /** @type {Item[]} */
    this.items = [];
  }

  /** @param {Iterable<File>} files */
  add(files) {
    const added = Array.from(files, (file) => this.makeItem(file));
    this.items.push(...added);
    this.check();
    added.forEach(this.onAdd);
  }

  remove(item) {
    const position = this.items.indexOf(item);
    this.items.splice(position, 1);
    item.element.remove();
    this.check();
    const next = this.items[Math.min(position, this.items.length - 1)];
    (next?.element.querySelector("button") ?? document.querySelector("[data-images-input]")).focus();
  }

  /** Say what is wrong with single files; `sentences` is by position. */
  showErrors(sentences) {
    this.items.forEach((item, position) => this.setError(item, sentences.get(position) ?? ""));
  }

  makeItem(file) {
    const element = this.template.content.firstElementChild.cloneNode(true);
    const item = { file, element, sha256: sha256(file), refusal: "" };
    element.querySelector("[data-name]").textContent = file.name;
    element.querySelector("[data-size]").textContent = readableSize(file.size);
    const remove = element.querySelector("[data-remove]");
    remove.querySelector("[data-remove-name]").textContent = file.name;
    remove.addEventListener("click", () => this.remove(item));
    this.list.append(element);
    this.showPreview(item, file);
    return item;
  }

  /** @param {Blob} picture in a format that browsers know, or there is no preview */
  async showPreview(item, picture) {
    let isShown = true;
    try {
      await drawPreview(picture, item.element.querySelector("canvas"));
    } catch {
      isShown = false;
    }
    item.element.classList.toggle("image-item--no-preview", !isShown);
  }

  check() {
    const { tooLarge, tooMany } = this.list.dataset;
    this.items.forEach((item, position) => {
      if (item.file.size > this.maxBytes) this.setError(item, tooLarge);
      else this.setError(item, position >= this.maxCount ? tooMany : item.refusal);
    });
    this.onChange();
  }

  setError(item, sentence) {
    const place = item.element.querySelector("[data-error]");
    place.textContent = sentence;
    item.element.classList.toggle("image-item--wrong", Boolean(sentence));
  }

  get isAcceptable() {
    return this.items.length <= this.maxCount && this.items.every((i) => i.file.size <= this.maxBytes);
  }
}

async function drawPreview(file, canvas) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.max(PREVIEW_PX / bitmap.width, PREVIEW_PX / bitmap.height);
  const width = bitmap.width * scale;
  const height = bitmap.height * scale;
  canvas.width = canvas.height = PREVIEW_PX;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, (PREVIEW_PX - width) / 2, (PREVIEW_PX - height) / 2, width, height);
  bitmap.close();
}

/** Only pages that came over a safe connection may hash; elsewhere the server asks instead. */
async function sha256(file) {
  if (!globalThis.crypto?.subtle) return null;
  try {
    const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
    return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  } catch {
    return null; // the file went away; sending it will say so
  }
}

/** In bytes below a kilobyte: a size that is rounded to nothing looks like an empty file. */
function readableSize(bytes) {
  if (bytes < 1e3) return inUnit(bytes, "byte", { unitDisplay: "long" });
  if (bytes < 1e6) return inUnit(bytes / 1e3, "kilobyte", { maximumFractionDigits: 0 });
  return inUnit(bytes / 1e6, "megabyte", { maximumFractionDigits: 1 });
}

function inUnit(number, unit, options) {
  const language = document.documentElement.lang;
  return new Intl.NumberFormat(language, { style: "unit", unit, ...options }).format(number);
}
