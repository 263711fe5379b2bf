"""The frame and the looks of `perfnet_tf.reporting.html`: HTML and CSS, nothing computed."""

STYLE = """
:root { color-scheme: light; --ink: #1d2329; --soft: #5b6670; --line: #dfe3e7; --fill: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; background: #f6f7f8; color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 56rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; letter-spacing: -0.01em; margin: 0 0 0.75rem; }
h2 { font-size: 1.15rem; margin: 0 0 0.9rem; }
header p { max-width: 44rem; margin: 0.5rem 0; }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px;
  padding: 1.25rem 1.25rem 1.1rem; margin-top: 1.25rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: 0.85rem; }
th, td { padding: 0.38rem 0.6rem 0.38rem 0; vertical-align: middle; }
tbody tr + tr td { border-top: 1px solid var(--line); }
tr.group th { padding-top: 1rem; color: var(--ink); font-size: 0.9rem; }
.number { text-align: right; white-space: nowrap; }
th.number { white-space: normal; }
.chart { width: 34%; min-width: 6rem; }
.bar { display: block; position: relative; height: 0.8rem; background: #eef1f3;
  border-radius: 3px; }
.bar i { position: absolute; inset: 0 auto 0 0; background: var(--fill); border-radius: 3px; }
.bar b { position: absolute; top: calc(50% - 1px); height: 2px; background: #111;
  box-shadow: 0 0 0 1px rgba(255, 255, 255, 0.75); }
.prediction td:first-child { width: 11rem; }
.prediction .chart { width: auto; }
.prediction .right td { font-weight: 700; }
.prediction .right .bar i { background: #009e73; }
.note { color: var(--soft); font-size: 0.9rem; margin: 0.9rem 0 0; }
figure { margin: 0 0 1rem; }
figure:last-child { margin-bottom: 0.2rem; }
img { display: block; max-width: 100%; height: auto; border-radius: 4px; }
figcaption { color: var(--soft); font-size: 0.88rem; margin-top: 0.4rem; }
dl { display: grid; grid-template-columns: minmax(9rem, 15rem) 1fr; gap: 0.3rem 1rem; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
pre { background: #f1f3f5; border-radius: 6px; padding: 0.7rem 0.9rem; margin: 0.3rem 0 0.9rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
code { font: 0.86rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
@media (max-width: 36rem) {
  main { padding: 1.2rem 0.7rem 3rem; }
  section { padding: 1rem 0.9rem; }
  .wide { display: none; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 0.5rem; }
}
"""

#: Filled by `str.format` with title, style, summary and body, all of them HTML already.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<header><h1>{title}</h1>
{summary}
</header>
{body}
</main>
</body>
</html>
"""
