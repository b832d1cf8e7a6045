"""Draw architecture.svg: the ten layers with their rooms, and the way of one call of execute.

Run it from any folder: python docs/why/architecture_svg.py
"""

from html import escape
from pathlib import Path

WIDTH, TOP, BAND, GAP, LEFT = 1128, 56, 62, 18, 214
COLUMN, BOX = 184, 148
# Colours of Okabe and Ito (2008), which the colour-blind tell apart.
BLUE, ORANGE = "#0072B2", "#D55E00"
# Layer: caption, and rooms as (column, columns wide, name, purpose).
LAYERS = {
    10: ("start", [(0, 1, "__main__", "python -m amorsize")]),
    9: ("entrances", [(0, 1, "cli/", "command line"), (3, 1, "testing", "stand-ins")]),
    8: ("public functions", [(1, 1, "api", "execute, optimize, …")]),
    7: ("plans", [(3, 1, "plan/", "optimize, pools"), (4, 1, "plan/trials/", "tune, validate")]),
    6: ("one call", [(1, 1, "run/", "execute, stream"), (3, 1, "executor/", "futures")]),
    5: (
        "measuring",
        [
            (0, 1, "options", "arguments"),
            (1, 1, "measure/", "costs, sample"),
            (3, 1, "checkpoint/", "results on disk"),
            (4, 1, "learn/", "the pruner"),
        ],
    ),
    4: (
        "model, engines, past",
        [
            (0, 1, "model/ (pure)", "forecast, decide"),
            (2, 1, "backends/", "drivers, workers"),
            (4, 1, "history/", "runs kept"),
        ],
    ),
    3: ("machine, schedule", [(0, 1, "system/", "cores, memory"), (2, 1, "schedule/ (pure)", "who runs what")]),
    2: ("records", [(0, 5, "facts", "what passes between the stages")]),
    1: (
        "ground",
        [(i, 1, name, "") for i, name in enumerate(["errors", "events", "limits", "formatting", "frozen"])],
    ),
}
STEPS = [
    "api → options: check the arguments",
    "api → run: make an Execution, which loops over the items in the caller",
    "run ↔ model: after each batch, ask the Decider for the next step",
    "run ↔ measure: time and weigh items, watch the interpreter’s lock",
    "run → backends: go parallel with a Driver and a Schedule of what is left",
    "backends ↔ schedule: events in, instructions out",
    "backends → run: results, in the Outcome",
    "run → history: one row for the run",
]


def top(layer):
    return TOP + (10 - layer) * (BAND + GAP)


def left(column):
    return LEFT + column * COLUMN


def text(x, y, words, size=14, fill="#222", anchor="middle", weight="normal"):
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(words)}</text>'
    )


def way(points, number, at, *, both=False, colour=ORANGE):
    line = " ".join(f"{x},{y}" for x, y in points)
    start = ' marker-start="url(#back)"' if both else ""
    yield (
        f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="3.5" stroke-linejoin="round" '
        f'marker-end="url(#tip)"{start}/>'
    )
    yield f'<circle cx="{at[0]}" cy="{at[1]}" r="11" fill="#fff" stroke="{colour}" stroke-width="2.5"/>'
    yield text(at[0], at[1] + 5, str(number), 14, colour, weight="bold")


def drawing():
    bottom = top(1) + BAND
    height = bottom + 40 + 24 * ((len(STEPS) + 1) // 2) + 16
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="DejaVu Sans, Verdana, sans-serif">'
    )
    yield "<title>The ten layers of amorsize, and the way of one call of execute</title>"
    yield (
        f'<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="3.4" markerHeight="3.4" '
        f'orient="auto"><path d="M0 0L10 5L0 10z" fill="{ORANGE}"/></marker>'
        f'<marker id="back" viewBox="0 0 10 10" refX="1" refY="5" markerWidth="3.4" markerHeight="3.4" orient="auto">'
        f'<path d="M10 0L0 5L10 10z" fill="{ORANGE}"/></marker></defs>'
    )
    yield f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>'
    yield text(
        16,
        32,
        "Ten layers: imports run downwards only. The way of one execute() is orange.",
        17,
        "#222",
        "start",
        "bold",
    )
    visited = {"api", "options", "run/", "model/ (pure)", "measure/", "backends/", "schedule/ (pure)", "history/"}
    for layer, (caption, rooms) in LAYERS.items():
        y = top(layer)
        yield f'<rect x="10" y="{y}" width="{WIDTH - 20}" height="{BAND}" rx="6" fill="#eef3f7"/>'
        yield text(42, y + 39, str(layer), 20, BLUE, "middle", "bold")
        yield text(64, y + 37, caption, 13, "#444", "start")
        for column, wide, name, purpose in rooms:
            x, width = left(column), (wide - 1) * COLUMN + BOX
            edge, thick = (ORANGE, 2.5) if name in visited else ("#7a8b99", 1.2)
            yield (
                f'<rect x="{x}" y="{y + 8}" width="{width}" height="{BAND - 16}" rx="5" fill="#fff" '
                f'stroke="{edge}" stroke-width="{thick}"/>'
            )
            yield text(x + width / 2, y + (28 if purpose else 36), name, 14.5, weight="bold")
            if purpose:
                yield text(x + width / 2, y + 46, purpose, 12, "#444")

    def under(layer):
        return top(layer) + BAND - 6

    def over(layer):
        return top(layer) + 6

    api_y, run_y = top(8) + BAND / 2, top(6) + BAND / 2
    x0, x1, x2, x4 = (left(column) + BOX / 2 for column in (0, 1, 2, 4))
    yield from way([(left(1) - 2, api_y), (x0, api_y), (x0, over(5))], 1, (x0, top(7) + 30))
    yield from way([(x1, under(8)), (x1, over(6))], 2, (x1, top(7) + 30))
    gutter = left(1) - 18
    yield from way(
        [(left(1) - 1, run_y), (gutter, run_y), (gutter, top(4) + BAND / 2), (left(0) + BOX + 4, top(4) + BAND / 2)],
        3,
        (gutter, top(5) - GAP / 2),
        both=True,
    )
    yield from way([(x1, under(6)), (x1, over(5))], 4, (x1 + 24, top(5) - GAP / 2), both=True)
    yield from way(
        [(left(1) + BOX + 3, run_y - 10), (x2 + 18, run_y - 10), (x2 + 18, over(4))], 5, (x2 + 18, top(5) + 30)
    )
    yield from way([(x2, under(4)), (x2, over(3))], 6, (x2 + 26, top(3) - GAP / 2), both=True)
    yield from way(
        [(x2 - 34, over(4)), (x2 - 34, run_y + 14), (left(1) + BOX + 4, run_y + 14)], 7, (x2 - 34, top(5) + 30)
    )
    lane = top(6) - GAP / 2
    far = left(4) - 18
    yield from way(
        [
            (x1 + 40, over(6)),
            (x1 + 40, lane),
            (far, lane),
            (far, top(4) - GAP / 2),
            (x4, top(4) - GAP / 2),
            (x4, over(4)),
        ],
        8,
        (left(2) + BOX + 18, lane),
    )
    for place, step in enumerate(STEPS):
        column, row = divmod(place, (len(STEPS) + 1) // 2)
        x, y = 24 + column * 556, bottom + 36 + 24 * row
        yield f'<circle cx="{x}" cy="{y}" r="10" fill="#fff" stroke="{ORANGE}" stroke-width="2.5"/>'
        yield text(x, y + 5, str(place + 1), 13, ORANGE, weight="bold")
        yield text(x + 18, y + 5, step, 13, "#222", "start")
    yield "</svg>"


if __name__ == "__main__":
    Path(__file__).with_name("architecture.svg").write_text("\n".join(drawing()) + "\n", encoding="utf-8")
