"""The page's template: one style block, no scripts, nothing fetched; a Python string, so no package data."""

PAGE = """{% macro grid(table) %}
<div class="scroll" tabindex="0">
<table{{ ' class=facts' if not table.small }} aria-label="{{ table.caption }}">
<thead><tr>{% for cell in table.head %}<th scope="col">{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}
<tr><th scope="row">{{ row[0] }}</th>{% for cell in row[1:] %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endmacro %}
{% macro data(table) %}
<details>
<summary>{{ table.caption }}</summary>
{{ grid(table) }}
</details>
{% endmacro %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; {{ light }} }
@media (prefers-color-scheme: dark) { :root { {{ dark }} } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--surface); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.012em; text-wrap: balance; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 3.2rem 0 .5rem; padding-top: .9rem;
  border-top: 1px solid var(--grid); }
p { margin: .4rem 0; max-width: 46rem; }
.run { color: var(--faint); font-size: .9rem; overflow-wrap: anywhere; }
.lead { font-size: 1.15rem; line-height: 1.5; margin: 1.3rem 0 .9rem; max-width: 50rem; }
.notes { margin: .8rem 0 0; padding: 0; list-style: none; font-size: .9rem; color: var(--faint); max-width: 50rem; }
.notes li { padding: .1rem 0 .1rem .8rem; border-left: 3px solid var(--grid); overflow-wrap: anywhere; }
.missing { color: var(--faint); font-style: italic; }
figure { margin: 1.2rem 0 1.8rem; }
.panels { display: flex; flex-wrap: wrap; gap: 1.4rem 1.6rem; align-items: flex-start; }
.panel { flex: 0 1 auto; min-width: 0; max-width: 100%; }
.three .panel { flex: 1 1 290px; max-width: 330px; }
.wide { flex-basis: 100%; overflow-x: auto; }
.wide svg { min-width: 620px; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg * { stroke-linejoin: round; }
svg text { font-family: system-ui, -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif; }
figcaption { margin-top: .8rem; font-size: .9rem; color: var(--faint); max-width: 50rem; }
.from { display: block; margin-top: .3rem; font-size: .82rem; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere; }
.from span { display: inline-block; }
.scroll { overflow-x: auto; margin: 0 0 1.2rem; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
.caption { color: var(--faint); font-size: .88rem; margin: 1.4rem 0 .3rem; max-width: 50rem; }
th, td { text-align: left; padding: .32rem 1.1rem .32rem 0; border-bottom: 1px solid var(--grid); vertical-align: top; }
thead th { color: var(--faint); font-weight: 500; border-bottom: 1px solid var(--faint); vertical-align: bottom; }
tbody th { font-weight: 500; }
.facts td { white-space: nowrap; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 0 2.5rem; }
.columns table { width: 100%; font-size: .8rem; }
.columns td { overflow-wrap: anywhere; }
.columns th { white-space: nowrap; }
details { margin: -1.2rem 0 1.8rem; font-size: .85rem; }
summary { color: var(--faint); cursor: pointer; }
details .scroll { max-height: 26rem; overflow: auto; margin-top: .4rem; }
details table { font-size: .8rem; }
h2.chapter { font-size: 1.6rem; border-top: 3px solid var(--ink); margin-top: 4rem; overflow-wrap: anywhere; }
footer { margin-top: 3rem; font-size: .82rem; color: var(--faint); }
@media (max-width: 600px) {
  main { padding: 1.4rem 1rem 3rem; }
  h1 { font-size: 1.5rem; } h2 { margin-top: 2.2rem; } .lead { font-size: 1.05rem; }
  .panel, .three .panel { flex-basis: 100%; max-width: none; }
}
@media print {
  :root { color-scheme: light; {{ light }} }
  body { font-size: 10.5pt; } main { max-width: none; padding: 0; }
  .panel { break-inside: avoid; } h2, h2 + p { break-after: avoid; } tr { break-inside: avoid; }
  figcaption { break-before: avoid; } .scroll, .wide { overflow: visible; } .wide svg { min-width: 0; }
}
</style>
</head>
<body>
<main>
<header>
<h1>{{ title }}</h1>
<p class="run">{{ run }}</p>
{% if lead %}
<p class="lead">{{ lead }}</p>
{% endif %}
<ul class="notes">
{% for note in notes %}
<li>{{ note }}</li>
{% endfor %}
</ul>
</header>
{% for section in sections %}
<section id="{{ section.name }}">
{% if section.level == 1 %}
<h2 class="chapter">{{ section.title }}</h2>
{% else %}
<h2>{{ section.title }}</h2>
{% endif %}
{% if section.intro %}
<p>{{ section.intro }}</p>
{% endif %}
{% if section.missing %}
<p class="missing">{{ section.missing }}</p>
{% endif %}
{% for drawing in section.drawings %}
<figure>
<div class="panels{{ ' three' if not drawing.large }}">
{% for panel in drawing.panels %}
<div class="panel{{ ' wide' if panel.wide }}" style="width:{{ panel.width }}px">{{ svg(panel) }}</div>
{% endfor %}
</div>
<figcaption>{{ drawing.caption }}<span class="from">
{%- for part in drawing.provenance -%}
<span>{{ part }}{% if not loop.last %}&nbsp;· {% endif %}</span>{{ " " }}
{%- endfor -%}
</span></figcaption>
</figure>
{% if drawing.table %}
{{ data(drawing.table) }}
{% endif %}
{% endfor %}
{% if section.tables and section.tables[0].small %}
<div class="columns">
{% endif %}
{% for table in section.tables %}
{% if table.folded %}
{{ data(table) }}
{% else %}
<div>
<p class="caption">{{ table.caption }}</p>
{{ grid(table) }}
</div>
{% endif %}
{% endfor %}
{% if section.tables and section.tables[0].small %}
</div>
{% endif %}
</section>
{% endfor %}
<footer>{{ schema }}{% if version %}, qkd_qiskit {{ version }}{% endif %}. Every number behind the figures is in
report.json beside this page.</footer>
</main>
</body>
</html>
"""
