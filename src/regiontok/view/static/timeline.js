// The time of a clip: a slider over its frames, and a button that plays them.

import { make } from "./dom.js";

/** The control of a clip's time; `change(frame)` is called with the frame to show. */
export class Timeline {
  constructor(item, change) {
    Object.assign(this, { item, change, frame: 0, timer: null });
    this.slider = make("input", {
      type: "range",
      id: "time",
      min: 0,
      max: item.frames - 1,
      step: 1,
      value: 0,
      "aria-label": "Frame of the clip",
      oninput: () => this.show(Number(this.slider.value)),
    });
    this.button = make("button", { type: "button", onclick: () => this.toggle() }, "Play");
    this.said = make("output", { for: "time" });
    this.element = make(
      "section",
      { class: "timeline", "aria-label": "Time" },
      this.button,
      this.slider,
      this.said,
    );
    this.say();
  }

  show(frame) {
    this.frame = frame;
    this.slider.value = String(frame);
    this.say();
    this.change(frame);
  }

  say() {
    const seconds = this.item.times?.[this.frame];
    const time = seconds === undefined ? "" : ` · ${seconds.toFixed(2)} s`;
    this.said.textContent = `frame ${this.frame + 1} of ${this.item.frames}${time}`;
  }

  toggle() {
    if (this.timer) return this.close();
    this.button.textContent = "Stop";
    const pause = 1000 / Math.min(12, Math.max(2, this.item.fps ?? 6));
    this.timer = setInterval(() => this.show((this.frame + 1) % this.item.frames), pause);
  }

  close() {
    clearInterval(this.timer);
    this.timer = null;
    this.button.textContent = "Play";
  }
}
