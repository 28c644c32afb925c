"""The frame of a report's page: its style, and the script that sorts and filters its table."""

from __future__ import annotations

from string import Template

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline';
    script-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { color-scheme: light dark; --paper: #fff; --raised: #f6f7f9; --ink: #1b1f24;
  --soft: #5b6570; --rule: #dfe3e8; --accent: #2a5fd0; --good: #0c7a5c; --bad: #b3354a; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --raised: #1c2026; --ink: #e6e9ed;
  --soft: #9aa4b0; --rule: #2f353d; --accent: #86b1ff; --good: #4cc9a4; --bad: #ff8a95; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 36px 24px 80px; }
h1 { font-size: 27px; line-height: 1.2; margin: 0 0 6px; }
h2 { font-size: 18px; margin: 40px 0 6px; }
.about, small { color: var(--soft); }
.about { max-width: 80ch; }
.pick label { margin-left: 14px; }
input[type=search] { font: inherit; padding: 4px 8px; border: 1px solid var(--rule);
  border-radius: 5px; background: var(--raised); color: inherit; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 12px; text-align: right; white-space: nowrap; vertical-align: top;
  border-bottom: 1px solid var(--rule); }
th { vertical-align: bottom; color: var(--soft); border-bottom-color: var(--soft); }
.words { text-align: left; }
.words:first-child { position: sticky; left: 0; background: var(--paper);
  white-space: normal; min-width: 170px; max-width: 300px; overflow-wrap: anywhere; }
tr.ours td { font-weight: 600; }
tr.ours small { font-weight: 400; }
tr.baseline td { color: var(--soft); font-weight: 400; }
.above { color: var(--good); } .below { color: var(--bad); }
tbody tr:hover td { background: var(--raised); }
th button { all: unset; cursor: pointer; }
th button:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(430px, 1fr)); gap: 18px; }
figure { margin: 0; }
figcaption { text-align: center; color: var(--soft); }
svg { width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12px; }
.rule { stroke: var(--rule); }
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
</style>
</head>
<body>
<main>
$body
</main>
<script>
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
</script>
</body>
</html>
""")
