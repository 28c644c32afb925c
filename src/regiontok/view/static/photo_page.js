// The page of one photo or clip: the slider, a panel for each setting, and what they add up to.

import { imageSource } from "./ask.js";
import { AttentionPanel } from "./attention_panel.js";
import { Budget } from "./budget.js";
import { choices, make } from "./dom.js";
import { FIGURES, featureTable } from "./figures.js";
import { Zoom } from "./geometry.js";
import { legendParts } from "./legend.js";
import { layersOf } from "./paint.js";
import { Panel } from "./panel.js";
import { Pointer } from "./pointer.js";
import { Reading } from "./reading.js";
import { Timeline } from "./timeline.js";

/**
 * Everything that the panels of one item share. `looked` is a picture of an answer that is shown
 * instead of panels of settings.
 */
export class PhotoPage {
  constructor(item, extras = null, looked = null) {
    Object.assign(this, {
      item,
      layer: "regions",
      frame: 0,
      point: null,
      pin: null,
      pointedAt: null,
    });
    this.zoom = new Zoom();
    this.budget = new Budget((budget) => this.cut(budget));
    this.panels = item.panels.map((label, number) => new Panel(this, number, label));
    this.looked = looked ? this.attentionPanels(looked) : [];
    this.panels.push(...this.looked);
    this.active = this.panels[0];
    this.reading = new Reading((region) => this.pointAtRegion(region), item.reads);
    this.figures = make("section", { class: "coherence", hidden: true });
    this.legend = make("p", { class: "legend", "aria-live": "polite" });
    this.timeline = item.frames > 1 ? new Timeline(item, (frame) => this.setFrame(frame)) : null;
    this.element = this.build(extras);
    this.budget.element.hidden = item.kind === "output";
    this.pictures = new Map();
    this.setFrame(0);
    this.onResize = new ResizeObserver(() => this.draw());
    this.panels.forEach((panel) => {
      this.onResize.observe(panel.canvas);
      new Pointer(this, panel);
    });
    this.onKey = (event) => this.key(event);
    document.addEventListener("keydown", this.onKey);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.onDark = () => this.draw();
    this.dark.addEventListener("change", this.onDark);
    this.load();
  }

  build(extras) {
    const [height, width] = this.item.size ?? [3, 4];
    const panels = make(
      "div",
      { class: `panels of-${this.panels.length}` },
      this.panels.map((panel) => panel.element),
    );
    this.grid = panels;
    panels.style.setProperty("--photo", `${width} / ${height}`);
    panels.style.setProperty("--wide", String(width / height));
    this.whole = make(
      "button",
      { type: "button", "aria-label": "Show the whole photo", onclick: () => this.zoomBy(0) },
      "whole",
    );
    const tools = make(
      "div",
      { class: "tools" },
      choices("Show", layersOf(this.item.kind), this.layer, (layer) => this.setLayer(layer)),
      make(
        "span",
        { class: "zoom", role: "group", "aria-label": "Zoom" },
        make(
          "button",
          { type: "button", "aria-label": "Zoom out", onclick: () => this.zoomBy(1 / 1.5) },
          "−",
        ),
        this.whole,
        make(
          "button",
          { type: "button", "aria-label": "Zoom in", onclick: () => this.zoomBy(1.5) },
          "+",
        ),
      ),
    );
    return make(
      "div",
      { class: "photo-page" },
      this.item.kind === "output"
        ? make(
            "p",
            { class: "about" },
            "These regions are as tokenize wrote them. To move them, open the photo itself.",
          )
        : null,
      this.item.missing ? make("p", { class: "notice" }, this.item.missing) : null,
      this.budget.element,
      tools,
      this.legend,
      panels,
      this.timeline?.element,
      this.reading.element,
      this.figures,
      extras,
    );
  }

  async load() {
    for (const panel of this.panels) {
      await panel.load();
      if (this.isOver) return;
      this.budget.take(
        this.panels.map((one) => one.tree).filter(Boolean),
        this.panels.some((one) => one.data?.follows),
      );
      panel.cut(this.budget.value);
      this.draw();
    }
    this.showFigures();
    document.documentElement.dataset.ready = "true";
  }

  showFigures() {
    const table = featureTable(this.panels, FIGURES);
    this.figures.replaceChildren(...(table ? [table] : []));
    this.figures.hidden = !table;
  }

  /** Show a budget. What takes long to say of a region waits until the slider rests. */
  cut(budget) {
    this.isSliding = true;
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      this.isSliding = false;
      this.draw();
    }, 120);
    this.panels.forEach((panel) => panel.cut(budget));
    this.draw();
  }

  setLayer(layer) {
    this.layer = layer;
    this.draw();
  }

  setFrame(frame) {
    this.frame = frame;
    if (!this.pictures.has(frame)) {
      const picture = new Image();
      const { number, source } = this.item;
      picture.onload = () => this.draw();
      const path = source === undefined ? `items/${number}/image/${frame}` : source;
      if (path) picture.src = imageSource(path);
      this.pictures.set(frame, picture);
    }
    const picture = this.pictures.get(frame);
    if (picture.complete || !this.picture) this.picture = picture;
    else
      picture.onload = () => {
        if (this.frame === frame) this.picture = picture;
        this.draw();
      };
    this.draw();
  }

  zoomBy(factor) {
    if (factor) this.zoom.by(factor, this.point?.x, this.point?.y);
    else this.zoom = new Zoom();
    this.draw();
  }

  /** Point at a place of the photo, in shares of its sides; null points at nothing. */
  pointTo(point, panel) {
    this.point = point;
    this.pointedAt = panel;
    if (point && panel) this.active = panel;
    this.panels.forEach((one) => {
      if (point) one.prepareWords();
    });
    this.draw();
  }

  pointAtRegion(region) {
    const panel = this.active;
    if (region < 0 || !panel.data) return this.pointTo(null, null);
    const patches = panel.partition.members(region);
    const inner = patches[patches.length >> 1] % panel.patches;
    const { x, y } = panel.layout.middle(inner);
    this.pointTo({ x: x / panel.layout.photo.width, y: y / panel.layout.photo.height }, panel);
  }

  /** Fix the region under a point, or let go of it. */
  setPin(point, panel) {
    const isSame = this.pin && point && panel.regionAt(this.pin) === panel.regionAt(point);
    this.pin = isSame ? null : point;
    this.panels.forEach((one) => {
      if (one.data) one.recolour();
    });
    this.draw();
  }

  /** Arrow keys move the slider wherever nothing else wants them; Escape lets go. */
  key(event) {
    if (event.key === "Escape") this.setPin(null, this.active);
    const wanted = event.target.closest("input, select, textarea, canvas, [role=tab]");
    if (wanted || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowRight") this.budget.step(1);
    else if (event.key === "ArrowLeft") this.budget.step(-1);
    else return;
    event.preventDefault();
  }

  /** Draw at the next frame; many calls are one. */
  draw() {
    if (this.isAsked) return;
    this.isAsked = true;
    requestAnimationFrame(() => {
      this.isAsked = false;
      this.drawNow();
    });
  }

  drawNow() {
    const isZoomed = this.zoom.times > 1;
    this.whole.disabled = !isZoomed;
    // one finger scrolls the page until there is something to drag
    this.grid.style.setProperty("--touch", isZoomed ? "none" : "pan-y");
    this.panels.forEach((panel) => panel.draw());
    this.reading.draw(
      this.active,
      this.active.data ? this.active.regionAt(this.point ?? this.pin) : -1,
    );
    this.legend.replaceChildren(...legendParts(this.layer, this.active));
  }

  attentionPanels({ views }) {
    const { length } = this.panels;
    return views.map((view, i) => new AttentionPanel(this, length + i, view));
  }

  /** Show what a word looked at, in a panel a view behind the others. */
  showAttention(picture, row) {
    if (!this.looked.length) {
      this.looked = this.attentionPanels(picture);
      this.panels.push(...this.looked);
      this.grid.classList.remove("of-1");
      for (const panel of this.looked) {
        this.onResize.observe(panel.canvas);
        new Pointer(this, panel);
        this.grid.append(panel.element);
      }
    }
    this.looked.forEach((panel, i) => panel.look(picture.views[i], row));
    this.draw();
  }

  close() {
    this.isOver = true;
    this.onResize.disconnect();
    document.removeEventListener("keydown", this.onKey);
    this.dark.removeEventListener("change", this.onDark);
    this.timeline?.close();
    delete document.documentElement.dataset.ready;
  }
}
