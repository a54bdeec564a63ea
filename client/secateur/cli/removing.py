"""rm: asks, then removes one after the other."""

import sys
from collections.abc import Callable, Sequence

import typer

from secateur import SecateurError, Unreachable
from secateur.cli import exits, output


def remove(ids: Sequence[str], delete: Callable[[str], object], yes: bool, json: bool) -> int:
    """Returns the exit code. Raises: typer.BadParameter: nobody can be asked; Unreachable."""
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("nobody is there to be asked: say -y to delete")
        if not typer.confirm(f"Delete {', '.join(ids)}?", err=True):
            output.note("nothing was deleted")
            return exits.DONE
    gone: list[str] = []
    for id in ids:
        try:
            delete(id)
            gone.append(id)
        except Unreachable:
            raise
        except SecateurError as error:
            output.note(f"error: {error}")
    output.document({"deleted": gone}) if json else output.say(
        "\n".join(f"deleted {id}" for id in gone)
    ) if gone else None
    return exits.DONE if len(gone) == len(ids) else exits.REFUSED
