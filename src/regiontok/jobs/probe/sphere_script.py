"""The script of the sphere's page: it projects, sorts by depth, paints, and listens."""

SCRIPT = """\
const canvas = document.getElementById('globe'), pen = canvas.getContext('2d');
const tip = document.getElementById('tip'), legend = document.getElementById('legend');
const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
const dark = matchMedia('(prefers-color-scheme: dark)');
const START = [1, 0, 0, 0, 0.94, 0.34, 0, -0.34, 0.94];
let turn = START.slice(), zoom = 1, spinning = !still, shown = 0, alone = -1, hovered = -1;
let drag = null, placed = [], side = 1;

const times = (a, b) => a.map((_, i) => {
  const r = 3 * Math.floor(i / 3), c = i % 3;
  return a[r] * b[c] + a[r + 1] * b[c + 3] + a[r + 2] * b[c + 6];
});
const about = {
  y: t => [Math.cos(t), 0, Math.sin(t), 0, 1, 0, -Math.sin(t), 0, Math.cos(t)],
  x: t => [1, 0, 0, 0, Math.cos(t), -Math.sin(t), 0, Math.sin(t), Math.cos(t)],
};
const rotate = (right, down) => { turn = times(about.y(right), times(about.x(down), turn)); };
const apply = (x, y, z) => [
  turn[0] * x + turn[1] * y + turn[2] * z,
  turn[3] * x + turn[4] * y + turn[5] * z,
  turn[6] * x + turn[7] * y + turn[8] * z,
];
function colour(number) {
  const name = DATA.names[number];
  if (CSS.supports('color', name))
    return `color-mix(in srgb, ${name} 78%, ${dark.matches ? '#fff' : '#555'})`;
  if (number >= DATA.hues) return dark.matches ? '#6b7480' : '#a3abb5';
  const hue = 360 * number / Math.min(DATA.hues, DATA.names.length) + 12;
  const tones = dark.matches ? ['62% 58%', '78% 70%'] : ['62% 50%', '78% 38%'];
  return `hsl(${hue} ${tones[number % 2]})`;
}
function fit() {
  const box = canvas.getBoundingClientRect(), ratio = devicePixelRatio || 1;
  side = box.width;
  canvas.width = canvas.height = Math.round(side * ratio);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
}
function circle(x, y, radius) { pen.beginPath(); pen.arc(x, y, radius, 0, 7); }
function lines(centre, radius, ink) {
  pen.lineWidth = 0.8;
  for (let ring = 0; ring < 8; ring++) {
    let last = null;
    for (let step = 0; step <= 72; step++) {
      const t = 2 * Math.PI * step / 72;
      let p;
      if (ring < 5) {
        const lat = (ring - 2) * Math.PI / 6;
        p = [Math.cos(lat) * Math.cos(t), Math.sin(lat), Math.cos(lat) * Math.sin(t)];
      } else {
        const lon = (ring - 5) * Math.PI / 3;
        p = [Math.cos(t) * Math.cos(lon), Math.sin(t), Math.cos(t) * Math.sin(lon)];
      }
      const [x, y, z] = apply(...p);
      const here = [centre + radius * x, centre - radius * y];
      if (last) {
        pen.strokeStyle = ink; pen.globalAlpha = z > 0 ? 0.9 : 0.3;
        pen.beginPath(); pen.moveTo(...last); pen.lineTo(...here); pen.stroke();
      }
      last = here;
    }
  }
  pen.globalAlpha = 1;
}
function paint() {
  const style = getComputedStyle(document.documentElement);
  const raised = style.getPropertyValue('--raised'), rule = style.getPropertyValue('--rule');
  const sphere = DATA.spheres[shown], centre = side / 2, radius = side * 0.44 * zoom;
  pen.clearRect(0, 0, side, side);
  circle(centre, centre, radius); pen.fillStyle = raised; pen.fill();
  lines(centre, radius, rule);
  placed = sphere.classes.map((kind, i) => {
    const at = 3 * i, p = sphere.points;
    const [x, y, z] = apply(p[at] / 1000, p[at + 1] / 1000, p[at + 2] / 1000);
    return { i, kind, z, x: centre + radius * x, y: centre - radius * y };
  });
  placed.sort((a, b) => a.z - b.z);
  const inks = DATA.names.map((_, i) => colour(i));
  const size = Math.max(1.8, Math.min(5, 90 / Math.sqrt(placed.length))) * Math.sqrt(zoom);
  for (const p of placed) {
    const dimmed = alone >= 0 && p.kind !== alone;
    pen.globalAlpha = dimmed ? 0.07 : (p.z > 0 ? 0.55 + 0.45 * p.z : 0.16);
    pen.fillStyle = inks[p.kind];
    circle(p.x, p.y, size * (0.75 + 0.25 * p.z)); pen.fill();
    if (p.i === hovered) {
      pen.globalAlpha = 1; pen.lineWidth = 2; pen.strokeStyle = style.getPropertyValue('--ink');
      circle(p.x, p.y, size + 2); pen.stroke();
    }
  }
  pen.globalAlpha = 1;
}
function point(event) {
  const box = canvas.getBoundingClientRect();
  const x = event.clientX - box.left, y = event.clientY - box.top;
  let best = null, nearest = 14;
  for (const p of placed) {
    const far = Math.hypot(p.x - x, p.y - y);
    if (p.z > 0 && (alone < 0 || p.kind === alone) && far < nearest) { best = p; nearest = far; }
  }
  hovered = best ? best.i : -1;
  tip.style.opacity = best ? 1 : 0;
  if (best) {
    const sphere = DATA.spheres[shown];
    tip.textContent = `${DATA.names[best.kind]} - ${sphere.imageNames[sphere.images[best.i]]}`;
    tip.style.left = `${Math.max(0, Math.min(best.x + 12, side - tip.offsetWidth - 4))}px`;
    tip.style.top = `${best.y + 12}px`;
  }
}
canvas.addEventListener('pointerdown', event => {
  drag = [event.clientX, event.clientY]; spinning = false; tip.style.opacity = 0; hovered = -1;
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener('pointermove', event => {
  if (drag) {
    const pace = 2.2 / side / zoom;
    rotate(pace * (event.clientX - drag[0]), pace * (event.clientY - drag[1]));
    drag = [event.clientX, event.clientY];
  } else point(event);
  draw();
});
for (const name of ['pointerup', 'pointercancel'])
  canvas.addEventListener(name, () => { drag = null; });
canvas.addEventListener('pointerleave', () => { hovered = -1; tip.style.opacity = 0; draw(); });
canvas.addEventListener('wheel', event => {
  event.preventDefault();
  zoom = Math.max(0.6, Math.min(6, zoom * Math.exp(-event.deltaY / 600))); draw();
}, { passive: false });
const KEYS = {
  ArrowLeft: () => rotate(-0.12, 0), ArrowRight: () => rotate(0.12, 0),
  ArrowUp: () => rotate(0, -0.12), ArrowDown: () => rotate(0, 0.12),
  '+': () => { zoom = Math.min(6, zoom * 1.15); }, '=': () => { zoom = Math.min(6, zoom * 1.15); },
  '-': () => { zoom = Math.max(0.6, zoom / 1.15); },
  '0': () => { turn = START.slice(); zoom = 1; },
  ' ': () => { spinning = !spinning; if (spinning) frame(); },
};
document.addEventListener('keydown', event => {
  if (event.target.tagName === 'BUTTON' && event.key === ' ') return;
  if (!KEYS[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  if (event.key.startsWith('Arrow')) spinning = false;
  KEYS[event.key](); draw();
});
function button(parent, text, pressed, act) {
  const element = document.createElement('button');
  element.type = 'button'; element.setAttribute('aria-pressed', pressed);
  element.append(...[text].flat()); element.addEventListener('click', act);
  parent.append(element);
  return element;
}
function menus() {
  const encoders = document.getElementById('encoders');
  encoders.replaceChildren(); legend.replaceChildren();
  DATA.spheres.forEach((sphere, i) => button(encoders, sphere.name, i === shown, () => {
    shown = i; hovered = -1; menus(); draw();
  }));
  DATA.names.forEach((name, i) => {
    const dot = document.createElement('i'), word = document.createElement('span');
    const count = document.createElement('b');
    dot.style.background = colour(i); word.textContent = name; count.textContent = DATA.counts[i];
    const row = button(legend, [dot, word, count], i === alone, () => {
      alone = alone === i ? -1 : i; hovered = -1; menus(); draw();
    });
    row.classList.toggle('off', alone >= 0 && alone !== i);
  });
}
let waiting = false;
function draw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; paint(); });
}
function frame() {
  if (!spinning) return;
  rotate(0.004, 0); paint(); requestAnimationFrame(frame);
}
dark.addEventListener('change', () => { menus(); draw(); });
new ResizeObserver(() => { fit(); draw(); }).observe(canvas);
fit(); menus(); paint(); frame();
"""
