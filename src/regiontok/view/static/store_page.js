// A mask store: the masks of each picture, by the key under which they were kept.

import { ask } from "./ask.js";
import { counted, make } from "./dom.js";
import { maskPicture } from "./paint.js";

const MASKS_TOGETHER = 60;

/** The page of a mask store; masks load when they come into view. */
export class StorePage {
  constructor(item) {
    this.item = item;
    this.next = 0;
    this.cards = make("ul", { class: "gallery" });
    this.end = make("div", { class: "end", "aria-hidden": "true" });
    this.element = make(
      "div",
      {},
      make("h1", {}, item.name),
      make("p", { class: "about" }, aboutStore(item)),
      this.cards,
      this.end,
    );
    this.seen = new IntersectionObserver(
      (entries) =>
        entries.filter((one) => one.isIntersecting).forEach((one) => this.load(one.target)),
      { rootMargin: "300px" },
    );
    this.watch = new IntersectionObserver(
      (entries) => {
        if (entries.some((one) => one.isIntersecting)) this.more();
      },
      { rootMargin: "600px" },
    );
    this.watch.observe(this.end);
    document.documentElement.dataset.ready = "true";
  }

  more() {
    const keys = this.item.keys.slice(this.next, this.next + MASKS_TOGETHER);
    this.next += keys.length;
    for (const key of keys) {
      const canvas = make("canvas", { role: "img", "aria-label": `masks of ${key}` });
      const card = make(
        "li",
        { "data-key": key },
        make("span", { class: "thumb" }, canvas),
        make("span", { class: "name" }, key),
        make("span", { class: "kind" }, "…"),
      );
      this.cards.append(card);
      this.seen.observe(card);
    }
  }

  async load(card) {
    this.seen.unobserve(card);
    const said = card.querySelector(".kind");
    try {
      const masks = await ask(`items/${this.item.number}/masks/${card.dataset.key}`);
      const picture = maskPicture(masks);
      const canvas = card.querySelector("canvas");
      [canvas.width, canvas.height] = [picture.width, picture.height];
      canvas.getContext("2d").drawImage(picture, 0, 0);
      const [height, width] = masks.size;
      said.textContent = `${counted(masks.areas.length, "mask")} · ${width} × ${height} pixels`;
    } catch (error) {
      said.textContent = error.message;
    }
  }

  close() {
    this.seen.disconnect();
    this.watch.disconnect();
    delete document.documentElement.dataset.ready;
  }
}

function aboutStore(item) {
  const pictures = counted(item.keys.length, "picture");
  const hint = "Name the photos beside the store, and their masks are a layer of theirs.";
  return `${pictures} segmented by ${item.segmenter}. ${hint}`;
}
