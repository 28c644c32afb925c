"""The style of a diagnosis page, and the script that sorts its tables."""

from __future__ import annotations

from string import Template

STYLE = Template("""\
:root {
  --s0: #2a6fdb; --s1: #c8404f; --s2: #0c8a6a; --s3: #b07314; --s4: #7b4fc9; --s5: #1587a8;
  --s6: #bb3c8c; --s7: #65752a;
  --none: #8a939d; }
@media (prefers-color-scheme: dark) { :root {
  --s0: #6ea8fe; --s1: #ff8a95; --s2: #4cc9a4; --s3: #e3b341; --s4: #b799f5;
  --s5: #5cc8e8; --s6: #f28fd0;
  --s7: #a9bd6a; } }
td.words:first-child { max-width: 270px; white-space: normal; overflow-wrap: anywhere;
  min-width: 130px; }
td.best { font-weight: 680; color: var(--accent); }
tr.remedy td { color: var(--soft); }
tr.again td.words:first-child span { display: none; }
tr.start td { border-top: 1px solid var(--soft); }
th button { all: unset; cursor: pointer; position: relative; color: inherit; white-space: normal; }
th button:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; }
th button::after { position: absolute; left: 100%; bottom: 0; padding-left: 1px; }
th[aria-sort=ascending] button::after { content: "\\2191"; }
th[aria-sort=descending] button::after { content: "\\2193"; }
th a { display: block; font-weight: 400; font-size: 11.5px; text-decoration: none; }
label.pick { display: inline-flex; gap: 7px; align-items: center; margin: 2px 0 10px;
  font-size: 13.5px; cursor: pointer; }
main:has(#plain:checked) tr.remedy { display: none; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; padding: 0; margin: 8px 0 14px;
  list-style: none; font-size: 13.5px; }
.legend svg { width: 26px; height: 10px; margin-right: 7px; vertical-align: middle; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr));
  gap: 26px 34px; }
figure h3 { font-size: 14.5px; font-weight: 650; margin: 0; }
figcaption { font-size: 13px; max-width: 62ch; }
.plot { width: 100%; height: auto; display: block; margin-top: 8px; overflow: visible; }
.plot text { font-size: 12.5px; fill: var(--soft); }
.curve polyline { fill: none; stroke-width: 2; stroke-linejoin: round; stroke: var(--none); }
.curve circle { fill: var(--none); stroke: var(--paper); stroke-width: 1.5; }
.curve:hover polyline { stroke-width: 3.5; }
$series
.dash polyline { stroke-dasharray: 6 4; }
.control polyline { stroke-dasharray: 1.5 4; stroke-linecap: round; }
.maps { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 18px;
  align-items: start; }
.maps img { width: 100%; display: block; image-rendering: pixelated; border-radius: 3px;
  outline: 1px solid var(--rule); }
.maps figcaption { margin-top: 5px; overflow-wrap: anywhere; line-height: 1.35; }
.pca { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr));
  gap: 20px 26px; }
.pca div { display: grid; grid-template-columns: repeat($examples, 1fr); gap: 6px; }
.pca img { width: 100%; aspect-ratio: 1; object-fit: fill; display: block; border-radius: 3px; }
.pca img.patches { image-rendering: pixelated; }
dl { max-width: 78ch; }
dt { font-weight: 650; margin-top: 12px; scroll-margin-top: 20px; }
dd { margin: 0; color: var(--soft); text-wrap: pretty; }
dt:target { color: var(--accent); }
@media (max-width: 640px) {
  td.words:first-child { min-width: 96px; max-width: 120px; } }
""")

SCRIPT = """\
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], rows = [...table.tBodies[0].rows];
  const key = (row, at) => row.cells[at].dataset.v ?? row.cells[at].textContent;
  heads.forEach((head, at) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort")
      === (head.dataset.first === "down" ? null : "ascending");
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    rows.sort((a, b) => {
      const x = key(a, at), y = key(b, at);
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = head.dataset.kind === "number" ? x - y
        : x.localeCompare(y, "en", { numeric: true });
      return down ? -order : order;
    });
    table.tBodies[0].append(...rows);
    rows.forEach((row) => row.classList.remove("start", "again"));
  }));
}
"""
