"""The report of a job, as a mapping that can show itself."""

from collections.abc import Callable
from html import escape
from typing import Any, NamedTuple

METRICS: dict[str, tuple[str, str]] = {  # as the service's reports have them: name in sentences, format
    "top1": ("top-1", "%"),
    "f1": ("micro F1", "%"),
    "mse": ("mean squared error", ".4g"),
    "agreement": ("agreement with the dense model", "%"),
    "r2": ("R2 against the dense model", ".4f"),
}


class Line(NamedTuple):
    """One line of the table before/after."""

    what: str
    before: str
    after: str
    change: str


class Report(dict[str, Any]):
    """What was measured on the delivered file; the service's JSON as it came."""

    @property
    def headline(self) -> str:
        """The result in a sentence."""
        return self["headline"]

    @property
    def goal_met(self) -> bool:
        """Whether the budget was reached."""
        return self["goal_met"]

    def table(self) -> list[Line]:
        """Before and after."""
        return [_accuracy(self["accuracy"]), *_sizes(self["compression"]), _latency(self["latency"])]

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(line.what)}</th>"
            + "".join(f"<td>{escape(text)}</td>" for text in line[1:])
            + "</tr>"
            for line in self.table()
        )
        head = "<tr><th></th><th>before</th><th>after</th><th></th></tr>"
        return f"<p><b>{escape(self.headline)}</b></p><table>{head}{rows}</table>"


def formatted(metric: str, value: float | None) -> str:
    """A value of a metric for people; an unknown metric as a number."""
    form = METRICS.get(metric, ("", ".4g"))[1]
    return "" if value is None else f"{100 * value:.2f} %" if form == "%" else format(value, form)


def _accuracy(accuracy: dict[str, Any]) -> Line:
    metric = accuracy["metric"]
    name, form = METRICS.get(metric, (metric, ".4g"))
    drop = -accuracy["drop"]  # worse is a minus, whatever the metric
    change = f"{drop:+.2%}".replace("%", " points") if form.endswith("%") else f"{drop:+.4g}"
    return Line(name, formatted(metric, accuracy["dense"]), formatted(metric, accuracy["pruned"]), change)


def _sizes(compression: dict[str, Any]) -> list[Line]:
    size = compression["bytes"]
    times: Callable[[float, float], str] = lambda a, b: f"{a / b:.1f}x" if b else ""  # noqa: E731
    lines = [
        Line(
            "weights",
            f"{compression['weights_total']:,}",
            f"{compression['weights_kept']:,}",
            f"{compression['pruning_rate']:.1f}x",
        ),
        Line("bytes", f"{size['dense']:,}", f"{size['pruned']:,}", times(size["dense"], size["pruned"])),
    ]
    if size.get("packed") is not None:
        lines.append(
            Line("bytes packed", f"{size['dense']:,}", f"{size['packed']:,}", times(size["dense"], size["packed"]))
        )
    return lines


def _latency(latency: dict[str, Any]) -> Line:
    change, spread = latency["speedup"], latency.get("spread", 0)
    sure = "" if max(change, 1 / max(change, 1e-9)) > 1 + spread / 2 else "~"  # no more than the calls differ
    return Line("milliseconds", f"{latency['dense_ms']:.3f}", f"{latency['pruned_ms']:.3f}", f"{sure}{change:.2f}x")
