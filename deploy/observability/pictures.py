"""Draws a dashboard's JSON as Grafana lays it out, from data that a function fetches: see
draw_dashboards.py. Kinds of panels and options that panels.py does not make are refused by name."""

import dataclasses
import io
import math
import re
import textwrap

import matplotlib

matplotlib.use("Agg")
import numpy as np  # noqa: E402
from matplotlib import dates, pyplot, ticker  # noqa: E402
from PIL import Image  # noqa: E402

WIDTH_PX, ROW_PX, HEADER_PX, DPI = 1500, 32, 46, 100
GRID_COLUMNS = 24
GAP_PX = 4
COLOURS = ["#3d9a50", "#d9a400", "#3274d9", "#e8701a", "#d1344b", "#8f55c4", "#139a9a", "#7a6a58",
           "#b5408f", "#6b8e23", "#4a5fa5", "#a0522d"]
THRESHOLD_COLOURS = {"green": "#3d9a50", "orange": "#e8701a", "red": "#d1344b"}
TEXT, FAINT, GROUND = "#24292e", "#7b8087", "#eef0f2"


@dataclasses.dataclass
class Curve:
    """One series on the grid of times, NaN where it had no value."""
    labels: dict
    values: np.ndarray


@dataclasses.dataclass
class Data:
    """What panels are drawn from. `over_time(query)` gives Curves, `now(query)` pairs of labels and
    value; `marks`: (time, words) pairs, drawn into every panel with a time axis."""
    times: np.ndarray  # seconds since the epoch
    over_time: object
    now: object
    marks: list


def _scaled(value, steps):
    """The first of `steps`, (factor, suffix) falling, that is not more than the value."""
    for factor, suffix in steps:
        if abs(value) >= factor:
            return f"{value / factor:.3g}{suffix}"
    return f"{value:.3g}"


def with_unit(value, unit):
    """A figure as Grafana's unit of that name shows it."""
    if math.isinf(value):
        return "∞"
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "bytes":
        return _scaled(value, [(2**30, " GiB"), (2**20, " MiB"), (2**10, " KiB"), (1, " B")])
    if unit == "s":
        return "0 s" if value == 0 else _scaled(value, [(3600, " h"), (60, " min"), (1, " s"),
                                                        (1e-3, " ms"), (1e-6, " µs")])
    if unit in ("short", "reqps", "cps"):
        per_second = {"short": "", "reqps": " req/s", "cps": " c/s"}[unit]
        return _scaled(value, [(1e9, " G"), (1e6, " M"), (1e3, " K")]) + per_second
    raise ValueError(f"unit '{unit}' is not drawn")


def legend_of(template, labels):
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda m: labels.get(m[1], ""), template).strip()


def _colour_at(value, defaults):
    """The colour of the highest threshold that `value` has reached."""
    steps = defaults["thresholds"]["steps"]
    reached = [s["color"] for s in steps if s["value"] is None or value >= s["value"]]
    return THRESHOLD_COLOURS[reached[-1]]


class Picture:
    """One dashboard on one figure. Confined to the calling thread, as matplotlib is."""

    def __init__(self, dashboard, data):
        self.dashboard, self.data = dashboard, data
        self.empty = []  # titles of panels that had nothing to show
        rows = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in dashboard["panels"])
        self.height_px = HEADER_PX + rows * ROW_PX
        self.figure = pyplot.figure(figsize=(WIDTH_PX / DPI, self.height_px / DPI), dpi=DPI,
                                    facecolor=GROUND)

    def draw(self):
        names = [v["label"] + ": All" for v in self.dashboard["templating"]["list"] if v["type"] == "query"]
        self._text(12, 27, self.dashboard["title"], size=14, weight="bold")
        self._text(WIDTH_PX - 12, 27, "     ".join(names), size=9, colour=FAINT, align="right")
        kinds = {"row": self._row, "stat": self._stat, "timeseries": self._graph,
                 "heatmap": self._heatmap, "table": self._table}
        for panel in self.dashboard["panels"]:
            if panel["type"] not in kinds:
                raise ValueError(f"{panel['title']}: panels of type '{panel['type']}' are not drawn")
            kinds[panel["type"]](panel)

    def save(self, path):
        """128 colours are enough, and make the file a third of the size."""
        pixels = io.BytesIO()
        self.figure.savefig(pixels, dpi=DPI, facecolor=GROUND, format="png")
        pyplot.close(self.figure)
        Image.open(pixels).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)

    def _text(self, x_px, y_px, text, size=9, colour=TEXT, weight="normal", align="left"):
        """Text whose base line begins `y_px` below the top."""
        self.figure.text(x_px / WIDTH_PX, 1 - y_px / self.height_px, text, fontsize=size, color=colour,
                         fontweight=weight, ha=align)

    def _axes(self, left, top, right, bottom, **kwargs):
        """Axes between pixels, counted from the figure's upper left corner."""
        return self.figure.add_axes((left / WIDTH_PX, 1 - bottom / self.height_px, (right - left) / WIDTH_PX,
                                     (bottom - top) / self.height_px), **kwargs)

    def _frame(self, panel):
        """The panel's white box with its title; its left, top, right and bottom in pixels."""
        place, cell = panel["gridPos"], WIDTH_PX / GRID_COLUMNS
        left, top = place["x"] * cell + GAP_PX, HEADER_PX + place["y"] * ROW_PX + GAP_PX
        right = (place["x"] + place["w"]) * cell - GAP_PX
        bottom = HEADER_PX + (place["y"] + place["h"]) * ROW_PX - GAP_PX
        box = self._axes(left, top, right, bottom, facecolor="white", xticks=[], yticks=[])
        for spine in box.spines.values():
            spine.set_color("#d5d9de")
        self._text(left + 9, top + 19, panel["title"], weight="bold")
        return left, top, right, bottom

    def _nothing(self, panel, left, top, right, bottom):
        self.empty.append(f"{self.dashboard['title']}: {panel['title']}")
        self._text((left + right) / 2, (top + bottom) / 2, "no data", colour=FAINT, align="center")

    def _row(self, panel):
        place = panel["gridPos"]
        self._text(12, HEADER_PX + place["y"] * ROW_PX + 22, panel["title"], size=11, weight="bold")

    def _curves(self, panel):
        """(legend, Curve) of all targets."""
        return [(legend_of(target["legendFormat"], curve.labels), curve)
                for target in panel["targets"] for curve in self.data.over_time(target["expr"])]

    def _stat(self, panel):
        left, top, right, bottom = self._frame(panel)
        curves = self._curves(panel)
        if not curves:
            return self._nothing(panel, left, top, right, bottom)
        (_, curve), = curves
        defaults = panel["fieldConfig"]["defaults"]
        values = curve.values[~np.isnan(curve.values)]
        colour = _colour_at(values[-1], defaults)
        line = self._axes(left + 2, top + 72, right - 2, bottom - 2)
        line.set_axis_off()
        line.fill_between(self.data.times, np.nan_to_num(curve.values), color=colour, alpha=.15, lw=0)
        line.plot(self.data.times, curve.values, color=colour, lw=1)
        line.set_xlim(self.data.times[0], self.data.times[-1])
        line.set_ylim(0, max(values.max(), 1e-9) * 1.1)
        self._text((left + right) / 2, top + 62, with_unit(values[-1], defaults["unit"]), size=22,
                   colour=colour, weight="bold", align="center")

    def _time_axes(self, panel, legends):
        """Axes with time below; the legend is put under them."""
        left, top, right, bottom = self._frame(panel)
        longest = max((len(words) for words in legends), default=0)
        columns = max(1, int((right - left - 24) / (6.2 * longest + 30)))
        lines = math.ceil(len(legends) / columns)
        axes = self._axes(left + 66, top + 32, right - 14, bottom - 26 - 15 * lines)
        axes.set_xlim(*dates.num2date([self.data.times[0] / 86400, self.data.times[-1] / 86400]))
        axes.xaxis.set_major_locator(dates.SecondLocator(bysecond=(0, 30)))
        axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M:%S" if right - left > 400 else "%M:%S"))
        axes.tick_params(labelsize=7.5, colors=FAINT, length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        for time, words in self.data.marks:
            axes.axvline(dates.num2date(time / 86400), color="#5b3f9e", lw=.8, ls=(0, (2, 2)))
            if panel["gridPos"]["w"] >= 8:
                axes.annotate(words, (dates.num2date(time / 86400), 1), xycoords=("data", "axes fraction"),
                              fontsize=6.5, color="#5b3f9e", ha="center", va="bottom")
        for i, words in enumerate(legends):
            x = left + 14 + (i % columns) * (right - left - 24) / columns
            y = bottom - 15 * lines + 15 * (i // columns) + 8
            self._text(x, y, "▬", size=8, colour=COLOURS[i % len(COLOURS)])
            room = int((right - left - 24) / columns / 6.2) - 2
            self._text(x + 15, y, words if len(words) <= room else words[:room - 1] + "…", size=7.5)
        return axes

    def _graph(self, panel):
        curves = [(legend, curve) for legend, curve in self._curves(panel)]
        if not curves:
            return self._nothing(panel, *self._frame(panel))
        defaults = panel["fieldConfig"]["defaults"]
        axes = self._time_axes(panel, [legend for legend, _ in curves])
        x = dates.num2date(self.data.times / 86400)
        floor = np.zeros(len(self.data.times))
        for i, (_, curve) in enumerate(curves):
            colour = COLOURS[i % len(COLOURS)]
            if defaults["custom"]["stacking"]["mode"] == "normal":
                top = floor + np.nan_to_num(curve.values)
                axes.fill_between(x, floor, top, color=colour, alpha=.3, lw=0)
                axes.plot(x, np.where(np.isnan(curve.values), np.nan, top), color=colour, lw=1.2)
                floor = top
            else:
                axes.plot(x, curve.values, color=colour, lw=1.2)
        axes.grid(axis="both", color="#e6e9ec", lw=.7)
        most = defaults.get("max") or max(axes.get_ylim()[1], 1e-9)
        axes.set_ylim(0, most)
        axes.yaxis.set_major_locator(ticker.MaxNLocator(5))
        axes.yaxis.set_major_formatter(lambda value, _: with_unit(value, defaults["unit"]))
        for step in defaults["thresholds"]["steps"]:
            if step["value"] is not None and step["value"] <= most:
                axes.axhline(step["value"], color=THRESHOLD_COLOURS[step["color"]], lw=1, ls="--")

    def _heatmap(self, panel):
        """Buckets count what is below their bound; a cell shows what one bucket adds to the last."""
        curves = sorted(((float(curve.labels["le"]), curve) for _, curve in self._curves(panel)),
                        key=lambda pair: pair[0])
        counts = np.diff(np.array([np.nan_to_num(c.values) for _, c in curves]), axis=0, prepend=0)
        used = np.flatnonzero(counts.max(axis=1) > 0) if curves else ()
        if len(used) == 0:
            return self._nothing(panel, *self._frame(panel))
        first, last = max(used[0] - 1, 0), min(used[-1] + 1, len(curves) - 1)
        axes = self._time_axes(panel, [])
        cells = np.ma.masked_less_equal(counts[first:last + 1], 0)
        axes.pcolormesh(dates.num2date(self.data.times / 86400), np.arange(len(cells)), cells,
                        cmap="Oranges", shading="nearest", vmin=-.15 * cells.max())
        axes.set_ylim(-.5, len(cells) - .5)
        unit = panel["options"]["yAxis"]["unit"]
        every = math.ceil(len(cells) / 9)
        axes.set_yticks(range(0, len(cells), every),
                        ["≤ " + with_unit(curves[first + i][0], unit) for i in range(0, len(cells), every)])

    def _table(self, panel):
        left, top, right, bottom = self._frame(panel)
        columns = panel["transformations"][0]["options"]["include"]["names"]
        lines = [[labels.get(name, "") for name in columns]
                 for target in panel["targets"] for labels, _ in self.data.now(target["expr"])]
        if not lines:
            return self._nothing(panel, left, top, right, bottom)
        width = (right - left - 24) / len(columns)
        for y, line in enumerate([columns, *sorted(lines)]):
            for x, cell in enumerate(line):
                self._text(left + 12 + x * width, top + 50 + 24 * y, textwrap.shorten(cell, int(width / 6.4)),
                           size=8.5, colour=FAINT if y == 0 else TEXT)


def draw(dashboard, data, path):
    """Writes a PNG; returns the titles of panels that had no data."""
    picture = Picture(dashboard, data)
    picture.draw()
    picture.save(path)
    return picture.empty
