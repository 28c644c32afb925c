// Elements of the page. Text is only ever set as text: no name can become markup.

/** An element with attributes, properties of its style, listeners (`onclick`) and children. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") setStyle(element, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, String(value));
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

function setStyle(element, style) {
  for (const [name, value] of Object.entries(style)) element.style.setProperty(name, value);
}

/** A group of choices, one of which holds; `choose(value)` is called with the new one. */
export function choices(label, options, value, choose) {
  const name = `choice-${label.toLowerCase().replace(/\W+/g, "-")}`;
  const inputs = options.map(([key, text, hint]) => {
    const input = make("input", {
      type: "radio",
      name,
      value: key,
      checked: key === value,
      onchange: () => choose(key),
    });
    return make("label", { class: "choice", title: hint ?? null }, input, make("span", {}, text));
  });
  return make("fieldset", { class: "choices" }, make("legend", {}, label), inputs);
}

/** A share as text: "11 %", and one digit more below one percent. */
export function percent(share) {
  return `${(100 * share).toFixed(100 * share < 9.95 ? 1 : 0)} %`;
}

/** A number with the spaces of the reader's language. */
export function count(number) {
  return number.toLocaleString();
}

/** "1 region", "2 regions". */
export function counted(number, word) {
  return `${count(number)} ${word}${number === 1 ? "" : "s"}`;
}

/** A canvas's context at the screen's own density, and its size in CSS pixels. */
export function sharpContext(canvas, width, height) {
  const density = window.devicePixelRatio || 1;
  const [across, down] = [Math.round(width * density), Math.round(height * density)];
  if (canvas.width !== across || canvas.height !== down) {
    canvas.width = across;
    canvas.height = down;
  }
  const context = canvas.getContext("2d");
  context.setTransform(density, 0, 0, density, 0, 0);
  return context;
}

/** A value of the page's style, such as a colour. */
export function styleValue(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** "1 patch", "2 patches". */
export function patchesText(number) {
  return number === 1 ? "1 patch" : `${count(number)} patches`;
}
