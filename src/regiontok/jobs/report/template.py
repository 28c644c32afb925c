"""The style of a report's page, and the script that sorts and filters its table."""

from __future__ import annotations

STYLE = """\
:root { --good: #0c7a5c; --bad: #b3354a; }
@media (prefers-color-scheme: dark) { :root { --good: #4cc9a4; --bad: #ff8a95; } }
small { color: var(--soft); }
.pick label { margin-left: 14px; white-space: nowrap; }
input[type=search] { font: inherit; padding: 4px 8px; border: 1px solid var(--rule);
  border-radius: 5px; background: var(--raised); color: inherit; }
table { width: auto; }
td { vertical-align: top; }
.words:first-child { white-space: normal; min-width: min(170px, 36vw); max-width: 300px;
  overflow-wrap: anywhere; }
tr.ours td { font-weight: 600; }
tr.ours small { font-weight: 400; }
tr.baseline td { color: var(--soft); font-weight: 400; }
.above { color: var(--good); } .below { color: var(--bad); }
th button { all: unset; cursor: pointer; }
th button:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
.plots { display: grid; gap: 18px;
  grid-template-columns: repeat(auto-fill, minmax(min(430px, 100%), 1fr)); }
figcaption { text-align: center; }
svg { width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12px; }
.frontier { fill: none; stroke: var(--accent); stroke-width: 1.5; stroke-dasharray: 5 4; }
.interval { stroke-width: 1.5; }
circle.paper, circle.quoted { fill: var(--paper); stroke: var(--ink); stroke-width: 1.5; }
circle.quoted { stroke-dasharray: 2 2; }
.line { fill: none; stroke: var(--own); stroke-width: 1.5; }
.interval { stroke: var(--own, var(--soft)); opacity: 0.55; }
circle.ours { fill: var(--own, var(--accent)); }
.key { margin-right: 16px; white-space: nowrap; }
.key::before { content: ""; display: inline-block; width: 10px; height: 10px; margin-right: 6px;
  border-radius: 50%; background: var(--own); }
.series0 { --own: #3b7dd8; } .series1 { --own: #d9652b; } .series2 { --own: #2f9e6e; }
.series3 { --own: #b44fb0; } .series4 { --own: #b08a1e; } .series5 { --own: #1fa3b8; }
.series6 { --own: #d1495b; } .series7 { --own: #7a6ad8; } .series8 { --own: #7f9a2c; }
.series9 { --own: #8a7768; }
"""

SCRIPT = """\
const table = document.getElementById("scores"), body = table.tBodies[0];
const valueOf = (row, column) => {
  const cell = row.cells[column];
  return "value" in cell.dataset ? cell.dataset.value : cell.textContent;
};
table.querySelectorAll("th").forEach((head, column) => {
  head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") === "descending" || column === 0
      && head.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [valueOf(a, column), valueOf(b, column)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return up ? order : -order;
    });
    body.append(...rows);
  });
});
const filter = document.getElementById("filter");
const kinds = [...document.querySelectorAll(".kind")];
const show = () => {
  const wanted = filter.value.toLowerCase();
  const ticked = kinds.filter((box) => box.checked).map((box) => box.value);
  for (const row of body.rows) {
    row.hidden = !row.textContent.toLowerCase().includes(wanted)
      || kinds.length && !ticked.includes(row.dataset.kind);
  }
  for (const mark of document.querySelectorAll("[data-row]")) {
    const hidden = !mark.dataset.row.toLowerCase().includes(wanted)
      || kinds.length && mark.dataset.kind && !ticked.includes(mark.dataset.kind);
    mark.style.display = hidden ? "none" : "";
  }
  // the frontier is that of all rows
  const all = !wanted && ticked.length === kinds.length;
  for (const line of document.querySelectorAll(".frontier")) line.style.display = all ? "" : "none";
};
filter.addEventListener("input", show);
kinds.forEach((box) => box.addEventListener("change", show));
"""
