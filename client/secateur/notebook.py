"""Jobs as HTML, and as a live display in notebooks. IPython is used where it runs already, never imported."""

import sys
from collections.abc import Callable
from html import escape
from typing import Any, Protocol

from secateur.report import Report
from secateur.rounds import Round
from secateur.rows import JobRow


class Shown(Protocol):
    """What can show itself."""

    def _repr_html_(self) -> str: ...


def live() -> Callable[[Shown], None]:
    """A display that is written over with each call; one that does nothing outside of a notebook."""
    shell = _shell()
    if shell is None:
        return lambda _: None
    display: Any = sys.modules["IPython"].display
    handle = display.DisplayHandle()
    is_new = True

    def show(shown: Shown) -> None:
        nonlocal is_new
        html = display.HTML(shown._repr_html_())
        handle.display(html) if is_new else handle.update(html)
        is_new = False

    return show


def job_html(state: JobRow, now: Round | None, report: Report | None, url: str) -> str:
    """A job for people: status, progress, numbers, link; at its end the report."""
    name = escape(state["name"] or state["id"])
    link = f"<a href='{escape(url, quote=True)}'>{name}</a>"
    if report is not None:
        return f"<p>{link}: {escape(state['status'])}</p>{report._repr_html_()}"
    if state.get("error"):
        return f"<p>{link}: {escape(state['status'])}: {escape(state['error'] or '')}</p>"
    facts = [
        state["phase"] or state["status"],
        f"round {state['round']}" if state["round"] is not None else "",
        f"{state['progress']:.0%}",
        f"{state['eta_seconds']:.0f} s left" if state["eta_seconds"] is not None else "",
        now.in_words() if now else "",
    ]
    bar = f"<progress max='1' value='{state['progress']:.3f}'></progress>"
    return f"<p>{link}: {escape(state['status'])}<br>{bar} {escape(', '.join(filter(None, facts)))}</p>"


def _shell() -> Any:
    """The IPython shell where it can show HTML; a terminal cannot."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return None if shell is None or type(shell).__name__ == "TerminalInteractiveShell" else shell
