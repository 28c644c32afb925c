// What a mouse, a finger or the keyboard does on a panel's canvas.

const STILL = 6; // pixels that a press may move and still be a click

/** Listens on one panel's canvas. */
export class Pointer {
  constructor(page, panel) {
    Object.assign(this, { page, panel, canvas: panel.canvas });
    this.down = new Map(); // where each pressed pointer is, by its id
    this.start = null; // where the first was pressed, until it has moved or another came
    const on = (name, act, options) => this.canvas.addEventListener(name, act, options);
    on("pointermove", (event) => this.move(event));
    on("pointerdown", (event) => this.press(event));
    on("pointerup", (event) => this.release(event));
    on("pointercancel", (event) => {
      this.down.delete(event.pointerId);
      this.start = null;
    });
    on("pointerleave", () => {
      if (!this.down.size) page.pointTo(null, null);
    });
    on("wheel", (event) => this.wheel(event), { passive: false });
    on("dblclick", (event) => {
      page.zoom.by(2, ...Object.values(this.at(event.clientX, event.clientY)));
      page.draw();
    });
    on("keydown", (event) => this.key(event));
    on("blur", () => page.pointTo(null, null));
  }

  /** The point of the photo under a place of the window, in shares of its sides. */
  at(clientX, clientY) {
    const box = this.canvas.getBoundingClientRect();
    return this.page.zoom.toPhoto(
      (clientX - box.left) / box.width,
      (clientY - box.top) / box.height,
    );
  }

  press({ pointerId, clientX, clientY }) {
    this.down.set(pointerId, { x: clientX, y: clientY });
    this.start = this.down.size === 1 ? { x: clientX, y: clientY } : null;
    this.canvas.setPointerCapture(pointerId);
  }

  move({ pointerId, clientX, clientY }) {
    const now = { x: clientX, y: clientY };
    const before = this.down.get(pointerId);
    if (this.down.size > 1) return this.pinch(pointerId, before, now);
    if (before) this.drag(pointerId, before, now);
    this.page.pointTo(this.at(clientX, clientY), this.panel);
  }

  /** One pointer moves what is shown, if that is not the whole photo. */
  drag(pointerId, before, now) {
    if (this.start && distance(this.start, now) <= STILL) return;
    this.start = null;
    this.down.set(pointerId, now);
    this.shift(before, now);
  }

  /** Two fingers zoom by how far they part, and move what is shown with them. */
  pinch(pointerId, before, now) {
    const other = [...this.down].find(([id]) => id !== pointerId)?.[1];
    if (!before || !other) return;
    const [from, to] = [middle(before, other), middle(now, other)];
    const { x, y } = this.at(from.x, from.y);
    this.page.zoom.by(distance(now, other) / Math.max(1, distance(before, other)), x, y);
    this.down.set(pointerId, now);
    this.shift(from, to);
    this.page.pointTo(null, null);
  }

  shift(from, to) {
    const box = this.canvas.getBoundingClientRect();
    this.page.zoom.move((from.x - to.x) / box.width, (from.y - to.y) / box.height);
  }

  release({ pointerId, clientX, clientY }) {
    this.down.delete(pointerId);
    const isClick = this.start && distance(this.start, { x: clientX, y: clientY }) <= STILL;
    this.start = null;
    if (isClick) this.page.setPin(this.at(clientX, clientY), this.panel);
  }

  /** Zoom by the wheel with Ctrl, or by two fingers; the wheel alone scrolls the page. */
  wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const { x, y } = this.at(event.clientX, event.clientY);
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

function distance(one, other) {
  return Math.hypot(one.x - other.x, one.y - other.y);
}

function middle(one, other) {
  return { x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 };
}
