// What the words of an answer looked at: the numbers, and the words as buttons that show them.

import { unpacked } from "./arrays.js";
import { make, percent } from "./dom.js";

/** The attention of an answer as the server sends it, with a row of shares a word, then all of it. */
export class Looked {
  constructor({ words, pictures }) {
    this.words = words;
    this.pictures = pictures.map(({ visual, whole, cls, views }) => ({
      ...Object.fromEntries(
        Object.entries({ visual, whole, cls }).map(([name, shares]) => [name, unpacked(shares)]),
      ),
      views: views.map((view) => ({ ...view, shares: unpacked(view.shares) })),
    }));
  }
}

/** The shares of one word on the regions of a view. */
export function sharesOf(view, row) {
  return view.shares.subarray(row * view.fixed.k, (row + 1) * view.fixed.k);
}

/**
 * The words of an answer as buttons, and a line that says how much a word looked at the picture.
 * `paint(row)` shows a word on the photo; the row behind the last word is the whole answer.
 */
export function wordButtons(looked, picture, paint) {
  const { words } = looked;
  const said = make("span", { class: "share" });
  const buttons = [];
  const show = (row) => {
    paint(row);
    said.textContent = shareText(picture, row);
    buttons.forEach((button, i) => {
      button.setAttribute("aria-pressed", String(i === row));
    });
  };
  const button = (row, text, label, kind) =>
    make(
      "button",
      {
        type: "button",
        class: kind,
        "aria-label": label,
        onclick: () => show(row),
        onmouseenter: () => show(row),
      },
      text,
    );
  words.forEach((word, row) => {
    buttons.push(button(row, word, `What “${word.trim()}” looked at`, "word"));
  });
  buttons.push(button(words.length, "all of it", "What the whole answer looked at", "word all"));
  show(words.length);
  const hint = ["Point at a word, or tap it, to see what it looked at; or see ", buttons.at(-1)];
  return {
    words: buttons.slice(0, -1),
    hint: make("p", { class: "small" }, ...hint, ". ", said),
  };
}

function shareText({ visual, whole, cls }, row) {
  const parts = [
    [whole, "the token of the whole image"],
    [cls, "CLS"],
  ]
    .filter(([shares]) => shares[row] > 0)
    .map(([shares, name]) => `${percent(shares[row])} on ${name}`);
  const more = parts.length ? `, of which ${parts.join(" and ")}` : "";
  return `${percent(visual[row])} of its attention is on the photo${more}.`;
}
