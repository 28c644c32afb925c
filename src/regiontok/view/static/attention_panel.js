// A panel of what an answer looked at: each region as strong as the share of attention on it.

import { sharesOf } from "./looked.js";
import { Panel } from "./panel.js";

/** One view of a picture under what a word of an answer, or all of it, looked at. */
export class AttentionPanel extends Panel {
  constructor(page, number, view) {
    super(page, number, {
      regions: "what the answer looked at",
      encoder: "orange: the share of attention, by area",
      view: view.name,
    });
    this.note.remove();
  }

  /** There is nothing to ask for: what is shown is given. */
  async load() {}

  /** Show a row of a view's shares. */
  look(view, row) {
    if (this.view !== view) {
      this.view = view;
      const { fixed, grid, frame } = view;
      const { regions } = this.label;
      this.take({ fixed, grid, frame, regions, truth: [], masks: null, tokens: "one" });
    }
    const { sizes } = this.partition;
    this.given = Array.from(sharesOf(view, row), (share, region) => share / sizes[region]);
    this.cosines = this.given;
  }
}
