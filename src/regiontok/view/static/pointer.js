// What a mouse, a finger or the keyboard does on a panel's canvas.

const STILL = 6; // pixels that a press may move and still be a click

/** Listens on one panel's canvas. */
export class Pointer {
  constructor(page, panel) {
    Object.assign(this, { page, panel, canvas: panel.canvas, pressed: null });
    const on = (name, act, options) => this.canvas.addEventListener(name, act, options);
    on("pointermove", (event) => this.move(event));
    on("pointerdown", (event) => this.press(event));
    on("pointerup", (event) => this.release(event));
    on("pointercancel", () => {
      this.pressed = null;
    });
    on("pointerleave", () => {
      if (!this.pressed) page.pointTo(null, null);
    });
    on("wheel", (event) => this.wheel(event), { passive: false });
    on("dblclick", (event) => {
      page.zoom.by(2, ...Object.values(this.at(event)));
      page.draw();
    });
    on("keydown", (event) => this.key(event));
    on("blur", () => page.pointTo(null, null));
  }

  /** The point of the photo under an event, in shares of its sides. */
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return this.page.zoom.toPhoto(
      (event.clientX - box.left) / box.width,
      (event.clientY - box.top) / box.height,
    );
  }

  press(event) {
    this.pressed = { x: event.clientX, y: event.clientY, moved: false };
    this.canvas.setPointerCapture(event.pointerId);
  }

  move(event) {
    const { pressed, page } = this;
    if (pressed && page.zoom.times > 1) {
      const box = this.canvas.getBoundingClientRect();
      const [across, down] = [event.clientX - pressed.x, event.clientY - pressed.y];
      pressed.moved ||= Math.hypot(across, down) > STILL;
      if (pressed.moved) {
        page.zoom.move(-across / box.width, -down / box.height);
        Object.assign(pressed, { x: event.clientX, y: event.clientY });
      }
    }
    page.pointTo(this.at(event), this.panel);
  }

  release(event) {
    const isClick =
      this.pressed &&
      !this.pressed.moved &&
      Math.hypot(event.clientX - this.pressed.x, event.clientY - this.pressed.y) <= STILL;
    this.pressed = null;
    if (isClick) this.page.setPin(this.at(event), this.panel);
  }

  /** Zoom by the wheel with Ctrl, or by two fingers; the wheel alone scrolls the page. */
  wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const { x, y } = this.at(event);
    this.page.zoom.by(Math.exp(-event.deltaY / 200), x, y);
    this.page.draw();
  }

  /** Arrows go from patch to patch, Enter fixes, plus and minus zoom. */
  key(event) {
    const { page, panel } = this;
    if (!panel.data) return;
    const { columns, rows } = panel.layout;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in moves) {
      const [across, down] = moves[event.key];
      const start = page.point ?? { x: 0.5, y: 0.5 };
      const inside = (value) => Math.min(0.999, Math.max(0.001, value));
      page.pointTo(
        { x: inside(start.x + across / columns), y: inside(start.y + down / rows) },
        panel,
      );
    } else if (event.key === "Enter" || event.key === " ") {
      if (page.point) page.setPin(page.point, panel);
    } else if (event.key === "+" || event.key === "=") page.zoomBy(1.5);
    else if (event.key === "-") page.zoomBy(1 / 1.5);
    else return;
    event.preventDefault();
  }
}
