// All that can be looked at: thumbnails that load when they come into view, and a search by name.

import { imageSource } from "./ask.js";
import { counted, make } from "./dom.js";

const CARDS_TOGETHER = 120; // cards that are added at a time
const PICTURED = new Set(["photo", "clip", "output"]);
const WORDS = {
  clip: "clip",
  output: "tokenized",
  store: "mask store",
  run: "training run",
  answers: "answers",
  talk: "conversation",
};

/** The gallery of some items; `items` are pairs of kind and name, by number. */
export class Gallery {
  constructor(items, title) {
    this.items = items;
    this.search = make("input", {
      type: "search",
      placeholder: "Search by name",
      "aria-label": "Search by name",
      oninput: () => this.fill(),
    });
    this.found = make("span", { class: "found", "aria-live": "polite" });
    this.cards = make("ul", { class: "gallery" });
    this.end = make("div", { class: "end", "aria-hidden": "true" });
    this.element = make(
      "div",
      {},
      make("div", { class: "gallery-head" }, make("h1", {}, title), this.search, this.found),
      this.cards,
      this.end,
    );
    this.watch = new IntersectionObserver(
      (seen) => {
        if (seen.some((one) => one.isIntersecting)) this.more();
      },
      { rootMargin: "600px" },
    );
    this.watch.observe(this.end);
    this.fill();
    document.documentElement.dataset.ready = "true";
  }

  fill() {
    const wanted = this.search.value.toLowerCase();
    this.shown = this.items.filter(({ name }) => name.toLowerCase().includes(wanted));
    this.found.textContent = counted(this.shown.length, "item");
    this.cards.replaceChildren();
    this.next = 0;
    this.more();
  }

  more() {
    const some = this.shown.slice(this.next, this.next + CARDS_TOGETHER);
    this.next += some.length;
    this.cards.append(...some.map((item) => card(item)));
  }

  close() {
    this.watch.disconnect();
    delete document.documentElement.dataset.ready;
  }
}

function card({ number, kind, name }) {
  const picture = PICTURED.has(kind)
    ? make("img", {
        loading: "lazy",
        decoding: "async",
        alt: "",
        src: imageSource(`items/${number}/thumbnail`),
        onerror: (event) => event.target.replaceWith(blank("cannot be read")),
      })
    : blank(WORDS[kind]);
  return make(
    "li",
    {},
    make(
      "a",
      { href: `#item/${number}` },
      make("span", { class: "thumb" }, picture),
      make("span", { class: "name", title: name }, name),
      kind === "photo" ? null : make("span", { class: "kind" }, WORDS[kind]),
    ),
  );
}

function blank(text) {
  return make("span", { class: "blank" }, text);
}
