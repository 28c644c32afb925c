// Where patches lie on the photo, and the photo on the screen.

/** How the grid of one view lies on its photo; all places are in pixels of the photo. */
export class Layout {
  constructor(grid, frame) {
    [this.rows, this.columns] = grid.slice(-2);
    this.photo = { height: frame.image[0], width: frame.image[1] };
    const [y0, x0, y1, x1] = frame.crop;
    this.crop = { x0, y0, x1, y1 };
    this.down = {
      from: y0,
      scale: frame.resized[0] / (y1 - y0),
      offset: frame.offset[0],
      patch: frame.patch[0],
    };
    this.across = {
      from: x0,
      scale: frame.resized[1] / (x1 - x0),
      offset: frame.offset[1],
      patch: frame.patch[1],
    };
  }

  /** The left side of a column. */
  x(column) {
    return along(this.across, column);
  }

  /** The upper side of a row. */
  y(row) {
    return along(this.down, row);
  }

  /** The patch under a point of one frame, -1 for none. */
  patchAt(x, y) {
    const { x0, y0, x1, y1 } = this.crop;
    if (x < x0 || y < y0 || x > x1 || y > y1) return -1;
    const [column, row] = [cell(this.across, x), cell(this.down, y)];
    const inside = column >= 0 && row >= 0 && column < this.columns && row < this.rows;
    return inside ? row * this.columns + column : -1;
  }

  /** The middle of a patch of one frame. */
  middle(patch) {
    return {
      x: this.x((patch % this.columns) + 0.5),
      y: this.y(Math.floor(patch / this.columns) + 0.5),
    };
  }
}

function along({ from, scale, offset, patch }, cells) {
  return from + (cells * patch - offset) / scale;
}

function cell({ from, scale, offset, patch }, place) {
  return Math.floor(((place - from) * scale + offset) / patch);
}

/** The part of the photo that all panels show: zoomed about a point, never beyond the photo. */
export class Zoom {
  constructor() {
    this.times = 1;
    this.left = 0; // shares of the photo's sides
    this.top = 0;
  }

  /** Zoom by a factor; the point (in shares of the photo) stays where it is. */
  by(factor, x = 0.5, y = 0.5) {
    const times = Math.min(24, Math.max(1, this.times * factor));
    this.left = x - ((x - this.left) * this.times) / times;
    this.top = y - ((y - this.top) * this.times) / times;
    this.times = times;
    this.keepInside();
  }

  /** Move what is shown, in shares of what is shown. */
  move(across, down) {
    this.left += across / this.times;
    this.top += down / this.times;
    this.keepInside();
  }

  keepInside() {
    const most = 1 - 1 / this.times;
    this.left = Math.min(most, Math.max(0, this.left));
    this.top = Math.min(most, Math.max(0, this.top));
  }

  /** The share of the photo under a share of the canvas. */
  toPhoto(x, y) {
    return { x: this.left + x / this.times, y: this.top + y / this.times };
  }
}

/** Where regions meet: level and upright lines as long as they can be, in cells of the grid. */
export function borderLines(labels, rows, columns, start = 0) {
  const lines = [];
  const at = (row, column) => labels[start + row * columns + column];
  for (let column = 1; column < columns; column++) {
    for (let row = 0; row < rows; row++) {
      if (at(row, column) === at(row, column - 1)) continue;
      const first = row;
      while (row + 1 < rows && at(row + 1, column) !== at(row + 1, column - 1)) row++;
      lines.push([column, first, column, row + 1]);
    }
  }
  for (let row = 1; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      if (at(row, column) === at(row - 1, column)) continue;
      const first = column;
      while (column + 1 < columns && at(row, column + 1) !== at(row - 1, column + 1)) column++;
      lines.push([first, row, column + 1, row]);
    }
  }
  return lines;
}
