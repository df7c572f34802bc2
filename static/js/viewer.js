/**
 * The image viewer of a case: zoom and pan by pointer, wheel, pinch, keys and buttons; a filmstrip
 * where there are several images; brightness, and a heat map that lies over the image and fades.
 * Without script the images stand one below the other, and heat maps in the answer's part.
 */
const MOST = 16;
const STEP = 1.25;
const PAN_PX = 60;

class Viewer {
  constructor(root) {
    this.root = root;
    this.stage = root.querySelector("[data-stage]");
    this.images = [...root.querySelectorAll(".viewer__image")];
    this.readout = root.querySelector("[data-scale]");
    this.pointers = new Map();
    root.classList.add("viewer--live");
    this.brightness = root.querySelector("[data-brightness]");
    root.querySelector("[data-tools]").hidden = false;
    this.listen();
    this.show(0);
  }

  /** Show one image, whole. */
  show(index) {
    this.images.forEach((image, position) => {
      image.classList.toggle("viewer__image--away", position !== index);
      image.loading = "eager";
    });
    this.image = this.images[index];
    this.heat?.draw();
    this.reset();
  }

  reset() {
    Object.assign(this, { scale: 1, x: 0, y: 0 });
    this.draw();
  }

  /** Zoom by a factor; the point of the stage under (clientX, clientY) stays where it is. */
  zoom(factor, clientX, clientY) {
    const box = this.stage.getBoundingClientRect();
    const fromCentreX = (clientX ?? box.x + box.width / 2) - (box.x + box.width / 2);
    const fromCentreY = (clientY ?? box.y + box.height / 2) - (box.y + box.height / 2);
    const scale = Math.min(MOST, Math.max(1, this.scale * factor));
    const ratio = scale / this.scale;
    this.x = fromCentreX - (fromCentreX - this.x) * ratio;
    this.y = fromCentreY - (fromCentreY - this.y) * ratio;
    this.scale = scale;
    this.draw();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.draw();
  }

  draw() {
    // Never farther than where an edge of the image meets the middle of the stage.
    const limitX = (this.image.offsetWidth * this.scale) / 2;
    const limitY = (this.image.offsetHeight * this.scale) / 2;
    this.x = this.scale === 1 ? 0 : Math.min(limitX, Math.max(-limitX, this.x));
    this.y = this.scale === 1 ? 0 : Math.min(limitY, Math.max(-limitY, this.y));
    const moved = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.image.style.transform = moved;
    this.image.style.filter = `brightness(${this.brightness.value}%)`;
    if (this.heat) this.heat.layer.style.transform = moved;
    this.root.classList.toggle("viewer--zoomed", this.scale > 1);
    this.readout.textContent = `${Math.round(this.scale * 100)} %`;
  }

  listen() {
    const { stage } = this;
    stage.addEventListener("keydown", (event) => this.onKey(event));
    stage.addEventListener("dblclick", (event) => {
      if (this.scale > 1) this.reset();
      else this.zoom(STEP ** 4, event.clientX, event.clientY);
    });
    stage.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.onPointerDown(event));
    stage.addEventListener("pointermove", (event) => this.onPointerMove(event));
    for (const name of ["pointerup", "pointercancel"]) {
      stage.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    }
    this.brightness.addEventListener("input", () => this.draw());
    this.root.querySelector("[data-tools]").addEventListener("click", (event) => {
      const action = event.target.closest("[data-zoom]")?.dataset.zoom;
      if (action === "in") this.zoom(STEP);
      else if (action === "out") this.zoom(1 / STEP);
      else if (action === "reset") this.reset();
    });
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = {
      "+": () => this.zoom(STEP),
      "=": () => this.zoom(STEP),
      "-": () => this.zoom(1 / STEP),
      0: () => this.reset(),
      ArrowLeft: () => this.pan(PAN_PX, 0),
      ArrowRight: () => this.pan(-PAN_PX, 0),
      ArrowUp: () => this.pan(0, PAN_PX),
      ArrowDown: () => this.pan(0, -PAN_PX),
    };
    const isArrow = event.key.startsWith("Arrow");
    if (!(event.key in actions) || (isArrow && this.scale === 1)) return;
    event.preventDefault();
    actions[event.key]();
  }

  /** The wheel zooms once the viewer is in use; before that the page scrolls. */
  onWheel(event) {
    const inUse = this.scale > 1 || event.ctrlKey || this.stage.matches(":focus");
    if (!inUse) return;
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY / 400), event.clientX, event.clientY);
  }

  onPointerDown(event) {
    if (event.button !== 0) return;
    this.pointers.set(event.pointerId, event);
    if (this.scale > 1 || this.pointers.size > 1) this.stage.setPointerCapture(event.pointerId);
  }

  onPointerMove(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const other = [...this.pointers.values()].find((p) => p.pointerId !== event.pointerId);
    this.pointers.set(event.pointerId, event);
    if (!other) {
      if (this.scale > 1) this.pan(event.clientX - before.clientX, event.clientY - before.clientY);
      return;
    }
    const distance = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY);
    const middle = [(event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2];
    this.zoom(distance(event) / Math.max(1, distance(before)), ...middle);
    this.pan((event.clientX - before.clientX) / 2, (event.clientY - before.clientY) / 2);
  }
}

/**
 * Lays a heat map over the image that is shown. Maps stand in the answer's part of the page, where
 * more of them may appear: one that comes while a person waits for it is laid over at once.
 */
class HeatMaps {
  constructor(root, viewer) {
    this.viewer = viewer;
    this.fader = root.querySelector("[data-fader]");
    this.map = document.createElement("img");
    this.layer = document.createElement("div");
    this.layer.className = "viewer__heat";
    this.layer.append(this.map);
    viewer.stage.append(this.layer);
    viewer.heat = this;
    this.laid = new Map(); // by the image's id: the map that lies over it
    this.known = new Set();
    this.fader.addEventListener("input", () => this.draw());
    this.look((figure) => location.hash === `#${figure.parentElement.id}`);
    document.addEventListener("htmx:afterSettle", () => this.look(() => true));
  }

  /** Find the maps on the page; `isMeant` says of a new one whether it is laid over now. */
  look(isMeant) {
    for (const figure of document.querySelectorAll("[data-heat-map]")) {
      const { id } = figure.parentElement;
      if (this.known.has(id)) continue;
      this.known.add(id);
      const button = figure.querySelector("[data-lay]");
      button.hidden = false;
      button.addEventListener("click", () => this.lay(figure, !this.lies(figure)));
      if (isMeant(figure)) this.lay(figure, true);
    }
    this.draw();
  }

  lies(figure) {
    return this.laid.get(figure.dataset.of) === figure;
  }

  lay(figure, lies) {
    if (lies) this.laid.set(figure.dataset.of, figure);
    else this.laid.delete(figure.dataset.of);
    this.draw();
  }

  draw() {
    for (const figure of document.querySelectorAll("[data-heat-map]")) {
      figure.querySelector("[data-lay]").setAttribute("aria-pressed", this.lies(figure));
    }
    const map = this.laid.get(this.viewer.image.id)?.querySelector("[data-map]");
    this.layer.hidden = this.fader.hidden = !map;
    if (!map) return;
    if (this.map.src !== map.src) Object.assign(this.map, { src: map.src, alt: map.alt });
    this.layer.style.opacity = this.fader.querySelector("input").value / 100;
  }
}

/** Choosing an image in the strip shows it and what was said of it, and the other way round. */
function wireFilmstrip(strip, viewer) {
  const links = [...strip.querySelectorAll("a")];
  function choose(link) {
    if (link.hasAttribute("aria-current")) return;
    links.forEach((other) => other.removeAttribute("aria-current"));
    link.setAttribute("aria-current", "true");
    viewer.show(links.indexOf(link));
    const said = document.querySelector(`[data-of-image="${link.dataset.image}"]`);
    if (said) said.open = true;
  }
  strip.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link) return;
    event.preventDefault();
    choose(link);
  });
  document.addEventListener(
    "toggle",
    ({ target }) => {
      const link = links.find((candidate) => candidate.dataset.image === target.dataset.ofImage);
      if (link && target.open) choose(link);
    },
    { capture: true }, // it does not bubble
  );
  // The page opens on the image that the answer is about.
  const opened = document.querySelector("[data-of-image][open]");
  const meant = links.find((link) => link.dataset.image === opened?.dataset.ofImage);
  if (meant) choose(meant);
}

for (const root of document.querySelectorAll("[data-viewer]")) {
  const viewer = new Viewer(root);
  new HeatMaps(root, viewer);
  const strip = document.querySelector("[data-filmstrip]");
  if (strip) wireFilmstrip(strip, viewer);
}
