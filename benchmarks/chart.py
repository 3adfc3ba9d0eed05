"""The README's chart: calls a second, a bar for each server, drawn as SVG that reads on light and on dark ground."""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, LEFT, RIGHT = 720, 150, 70  # pixels; names stand at the left of a bar, figures at its right
BAR, GAP, TITLE = 14, 3, 26

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.name, .note { fill: #59636e }
.bar { fill: #afb8c1 }
.ours { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .name, .note { fill: #9198a1 }
  .bar { fill: #59636e }
  .ours { fill: #4493f8 }
}
"""


def chart(groups: Mapping[str, Mapping[str, float]], ours: str, notes: Sequence[str]) -> str:
    """Draw groups of bars, each to its own scale, and write notes below them."""
    lines, y = [], 0
    for title, bars in groups.items():
        y += TITLE
        lines.append(f'<text class="title" x="{LEFT}" y="{y - 8}">{escape(title)}</text>')
        longest = max(bars.values())
        for name, value in bars.items():
            width = (WIDTH - LEFT - RIGHT) * value / longest
            kind, middle = "bar ours" if name == ours else "bar", y + BAR - 3
            lines += [
                f'<text class="name" x="{LEFT - 8}" y="{middle}" text-anchor="end">{escape(name)}</text>',
                f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>',
                f'<text x="{LEFT + width + 6:.1f}" y="{middle}">{value:,.0f}</text>',
            ]
            y += BAR + GAP
    for note in notes:
        y += 18
        lines.append(f'<text class="note" x="{LEFT}" y="{y}">{escape(note)}</text>')
    described = "; ".join(
        f"{title}: " + ", ".join(f"{name} {value:,.0f}" for name, value in bars.items())
        for title, bars in groups.items()
    )
    body = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 10}" role="img">\n'
        f"<title>{escape(described)}</title>\n<style>{STYLE}</style>\n{body}\n</svg>\n"
    )
