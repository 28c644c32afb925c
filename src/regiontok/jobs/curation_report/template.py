"""The style of the page of a curation."""

from __future__ import annotations

STYLE = """\
:root { --bar: #2a6fdb; --pale: #c3ccd6; }
@media (prefers-color-scheme: dark) { :root { --bar: #6ea8fe; --pale: #46505c; } }
h3 { font-size: 14.5px; font-weight: 650; margin: 0; }
h3 small { font-weight: 400; color: var(--soft); font-size: 13px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px;
  padding: 0; margin: 18px 0 0; list-style: none; }
.tiles li { background: var(--raised); border-radius: 8px; padding: 12px 14px; }
.tiles b { display: block; font-size: 22px; font-weight: 650; letter-spacing: -.01em;
  font-variant-numeric: tabular-nums; }
.tiles span { color: var(--soft); font-size: 13px; }
.histograms { display: grid; gap: 28px 36px; margin-top: 14px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 265px), 1fr)); }
.histograms + .note { margin-top: 22px; }
.bars { display: flex; align-items: flex-end; gap: 2px; height: 150px; margin-top: 10px;
  border-bottom: 1px solid var(--soft); }
.bars i { flex: 1; background: var(--bar); border-radius: 2px 2px 0 0; }
.bars i:hover { background: var(--accent); }
.bars i.pale { background: var(--pale); }
.labels { display: flex; gap: 2px; height: 20px; font-size: 12px; color: var(--soft);
  font-variant-numeric: tabular-nums; }
.labels span { flex: 1 1 0; width: 0; white-space: nowrap; overflow: visible; display: flex;
  justify-content: center; padding-top: 3px; }
figcaption { font-size: 13px; max-width: 62ch; margin-top: 2px; }
.clusters { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 540px), 1fr));
  gap: 20px 36px; margin: 12px 0 26px; }
.crops { display: grid; grid-template-columns: repeat(8, 1fr); gap: 5px; margin-top: 7px; }
.crops img, .crops b { width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--raised);
  border-radius: 4px; display: block; }
.lines { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 260px), 1fr));
  gap: 16px 22px; margin-top: 12px; align-items: end; }
.lines img { height: 34px; max-width: 100%; object-fit: contain; object-position: left;
  display: block; border-radius: 3px; }
.lines p { margin: 4px 0 0; font-size: 14px; overflow-wrap: anywhere; line-height: 1.35; }
.lines small { color: var(--soft); font-variant-numeric: tabular-nums; margin-left: 6px; }
.lines .unused p { color: var(--soft); }
.rejects { display: grid; grid-template-columns: repeat(auto-fill, minmax(120px, 1fr)); gap: 12px;
  margin: 8px 0 24px; align-items: start; }
.rejects figcaption { font-size: 12.5px; overflow-wrap: anywhere; line-height: 1.35; }
.rejects img, .rejects b { width: 100%; aspect-ratio: 4 / 3; object-fit: contain;
  background: var(--raised); border-radius: 4px; display: block; }
.rejects b { display: grid; place-items: center; color: var(--soft); font-weight: 400;
  font-size: 13px; }
pre { background: var(--raised); border-radius: 8px; padding: 12px 14px; overflow-x: auto;
  font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
table { max-width: 900px; }
@media (max-width: 640px) { .crops { grid-template-columns: repeat(4, 1fr); }
  .tiles { grid-template-columns: repeat(2, 1fr); } }
"""
