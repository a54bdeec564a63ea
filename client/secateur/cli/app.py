"""The program: commands, and what becomes of errors."""

import os
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer

from secateur import BadPlan, JobEnded, SecateurError, Unreachable
from secateur.cli import exits, jobs, output, plans, uploads, webhooks
from secateur.cli.options import Key, Url
from secateur.cli.prune import prune
from secateur.cli.watching import Interrupted

# typer has brought its own click since 0.2x: its errors are found through the one that it exports
Misuse: Any = typer.BadParameter.__mro__[2]
app = typer.Typer(
    name="secateur",
    help="Prune neural networks: an ONNX model in, a smaller one out, measured honestly.",
    epilog=exits.EXPLAINED,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command(epilog=exits.EXPLAINED)(prune)
app.add_typer(jobs.app, name="jobs")
app.add_typer(uploads.models, name="models")
app.add_typer(uploads.datasets, name="datasets")
app.add_typer(plans.app, name="plan")
app.add_typer(webhooks.app, name="webhooks")


def _print_version(asked: bool) -> None:
    if asked:
        try:
            print(f"secateur {version('secateur')}")
        except PackageNotFoundError:  # run from a folder that was never installed
            print("secateur (not installed)")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and leave.")
    ] = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Options before the command: the address and the key may stand there too; those after it count first."""
    for name, value in (("SECATEUR_URL", url), ("SECATEUR_KEY", key)):
        if value is not None:
            os.environ[name] = value


options.__doc__ = None  # else it would be the program's help


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code; every error is a sentence on standard error."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code: Any = typer.main.get_command(app).main(given, prog_name="secateur", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else exits.DONE
    except (Misuse, BadPlan) as error:
        return _misused(error)
    except SecateurError as error:
        return _refused(error, "--json" in given)
    except Interrupted as error:
        output.note(f"\n{error}")
        return exits.INTERRUPTED
    except (KeyboardInterrupt, typer.Abort):
        output.note("\nstopped")
        return exits.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end
        return exits.DONE
    except OSError as error:
        _complain(str(error) if error.errno is None else f"{error.filename or ''}: {error.strerror}".removeprefix(": "))
        return exits.USAGE
    except Exception as error:  # noqa: BLE001  # no traceback reaches a user
        _complain(f"a fault in secateur itself, please report it: {type(error).__name__}: {error}")
        return exits.REFUSED


def _misused(error: Any) -> int:
    if type(error).__name__ != "NoArgsIsHelpError":
        text = error.format_message() if isinstance(error, Misuse) else str(error)
        context = getattr(error, "ctx", None)
        _complain(text.removeprefix("Invalid value: "))
        output.note(f"`{context.command_path if context else 'secateur'} --help` says more")
    return exits.USAGE


def _refused(error: SecateurError, is_json: bool) -> int:
    _complain(str(error))
    for fault in error.errors:
        pointer, detail = fault.get("pointer", ""), fault.get("detail", "")
        if f"{pointer}: {detail}" not in str(error):
            output.note(f"  at {pointer}" + (f": {detail}" if detail != str(error) else ""))
    if is_json:
        document: dict[str, Any] = {"message": str(error), "status": error.status, "errors": error.errors}
        output.document({"error": document} | ({"job": error.state} if isinstance(error, JobEnded) else {}))
    return exits.AWAY if isinstance(error, Unreachable) else exits.REFUSED


def _complain(text: str) -> None:
    output.note(f"error: {text}")
