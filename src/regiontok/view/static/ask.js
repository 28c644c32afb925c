// What the page asks for: of the server, or of the answers that stand in the page itself.

import { bytesOf } from "./arrays.js";

const element = document.getElementById("answers");
const embedded = element ? JSON.parse(element.textContent) : null;

/** True if this page is one file, and has no server. */
export const isOneFile = embedded !== null;

/** Of the numbers of regions for which an answer stands in the page, the nearest to k. */
export function embeddedBudget(path, k) {
  const start = `${path}/at/`;
  const numbers = Object.keys(embedded)
    .filter((key) => key.startsWith(start) && !embedded[key].error)
    .map((key) => Number(key.slice(start.length)));
  const distance = (number) => Math.abs(number - k);
  return numbers.sort((a, b) => distance(a) - distance(b) || a - b)[0];
}

/** The JSON of a path. Throws an error with the server's own line where there is none. */
export async function ask(path, signal) {
  if (embedded) {
    const answer = embedded[path];
    if (answer === undefined) throw new Error("this file does not hold it");
    if (answer !== null && answer.error) throw new Error(answer.error);
    return answer;
  }
  const response = await reached(`/api/${path}`, { signal });
  return response.json();
}

/** The bytes of a path. */
export async function askBytes(path) {
  if (embedded) {
    if (embedded[path] === undefined) throw new Error("this file does not hold it");
    return bytesOf(embedded[path]);
  }
  const response = await reached(`/api/${path}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** The source of an image element; in one file, a picture that is there already is named. */
export function imageSource(path) {
  if (!embedded) return `/api/${path}`;
  return embedded[embedded[path]?.same ?? path] ?? "";
}

/** A response, or an error with a line that a reader understands. */
export async function reached(address, options = {}) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The viewer does not answer. Is `regiontok view` still running?");
  }
  if (!response.ok) {
    const text = await response.text();
    let line = text.trim();
    try {
      line = JSON.parse(text).error ?? line;
    } catch {
      /* it was plain text */
    }
    throw new Error(line || `the viewer answers with ${response.status}`);
  }
  return response;
}
