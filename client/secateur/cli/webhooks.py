"""secateur webhooks."""

from typing import Annotated

import typer

from secateur.cli import exits, output
from secateur.cli.options import JobId, Json, Key, Url, connected

app = typer.Typer(help="Webhooks: their secret, and what became of messages.", no_args_is_help=True)


@app.command("ls")
def listing(id: JobId, json: Json = False, url: Url = None, key: Key = None) -> int:
    """The messages about a job's end."""
    with connected(url, key) as client:
        found = client.job(id).webhooks()
    if json:
        output.document(found)
    else:
        headers = ("id", "type", "status", "tries", "next", "error")
        rows = [(d["id"], d["type"], d["status"], d["attempts"], d["next_at"], d["last_error"]) for d in found]
        output.table(headers, rows, right=(3,), spare=(4, 1))
    return exits.DONE


@app.command()
def resend(
    id: JobId,
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="msg_...")],
    json: Json = False,
    url: Url = None,
    key: Key = None,
) -> int:
    """Try a message once more now."""
    with connected(url, key) as client:
        delivery = client.job(id).resend(message)
    output.document(delivery) if json else output.say(f"{delivery['id']} is sent to {delivery['url']} again")
    return exits.DONE


@app.command()
def secret(
    rotate: Annotated[bool, typer.Option("--rotate", help="Make a new one; the old one holds for a day.")] = False,
    json: Json = False,
    url: Url = None,
    key: Key = None,
) -> int:
    """What your messages are signed with; for secateur.webhooks.verify."""
    with connected(url, key) as client:
        found = client.webhook_secret(rotate=rotate)
    output.document(found) if json else output.say(found["secret"])
    return exits.DONE
