"""What all pages share: one file that needs no network, light or dark, wide or narrow."""

from __future__ import annotations

import base64
import io
from html import escape
from string import Template

from PIL import Image

STYLE = """\
:root { color-scheme: light dark; --paper: #fff; --raised: #f6f7f9; --ink: #1b1f24;
  --soft: #5b6570; --rule: #dfe3e8; --accent: #2a5fd0; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --raised: #1c2026; --ink: #e6e9ed;
  --soft: #9aa4b0; --rule: #2f353d; --accent: #86b1ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 36px 24px 80px; }
h1 { font-size: 27px; line-height: 1.2; font-weight: 650; letter-spacing: -.015em;
  margin: 0 0 6px; text-wrap: balance; }
h2 { font-size: 18px; font-weight: 650; letter-spacing: -.005em; margin: 44px 0 4px; }
p { margin: 4px 0 14px; max-width: 74ch; text-wrap: pretty; }
.about, .note, figcaption { color: var(--soft); }
.about { font-size: 13.5px; }
a { color: var(--accent); text-underline-offset: 2px; text-decoration-thickness: 1px; }
code { font: 13px/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.scroll { overflow-x: auto; margin: 0 -4px; padding: 0 4px; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums;
  width: 100%; }
th, td { padding: 5px 10px; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--rule); }
th { vertical-align: bottom; font-weight: 600; color: var(--soft);
  border-bottom-color: var(--soft); }
th.words, td.words { text-align: left; }
th.words:first-child, td.words:first-child { position: sticky; left: 0; background: var(--paper);
  padding-left: 0; }
tbody tr:hover td { background: var(--raised); }
figure { margin: 0; }
.rule { stroke: var(--rule); }
details { font-size: 13.5px; color: var(--soft); max-width: 100%; overflow-wrap: anywhere; }
@media (max-width: 640px) { main { padding: 22px 16px 60px; } h1 { font-size: 23px; }
  th, td { padding: 5px 7px; } }
"""

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline';
    script-src 'unsafe-inline'">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<main>
$body
</main>
$script</body>
</html>
""")


def html_page(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """A whole page.

    Args:
        title: its title, as plain text.
        body: the elements within `main`.
        style: CSS beyond `STYLE`, which stands before it.
        script: JavaScript that runs when the page is there.

    >>> "<title>a &amp; b</title>" in html_page("a & b", "<h1>a &amp; b</h1>")
    True
    """
    element = f"<script>\n{script}</script>\n" if script else ""
    return _PAGE.substitute(title=escape(title), style=STYLE + style, body=body, script=element)


def data_uri(image: Image.Image, kind: str = "PNG") -> str:
    """A picture as text for the `src` of an `img` element."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
