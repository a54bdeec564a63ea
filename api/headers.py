"""What browsers are told on every response: what a page may load, who may frame it, what a file is."""

import base64
import hashlib
import re
from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from api.layer import Layer

PAGES = {
    "default-src": "'none'",
    "script-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data: blob:",
    "style-src": "'self' 'unsafe-inline'",  # Plotly writes styles into its drawings; so does the report, opened by key
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
# What jobs deliver is made of uploads: its one page has styles of its own, and runs nothing, in no origin of ours.
DATA = {
    "default-src": "'none'",
    "style-src": "'unsafe-inline'",
    "img-src": "data:",
    "form-action": "'none'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "sandbox": "",
}
DOCUMENTATION = "/docs"  # has a script in its page, which is named by its hash
EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
YEAR = "max-age=31536000"
INLINE = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def of(scope: Scope, scripts: Iterable[bytes] = ()) -> dict[str, str]:
    """The headers of a response to this request; scripts: those that stand in the page itself."""
    is_data = scope["path"].startswith("/v1/")
    hashes = "".join(f" 'sha256-{base64.b64encode(hashlib.sha256(s).digest()).decode()}'" for s in scripts)
    written = "; ".join(f"{name} {value}".strip() for name, value in (DATA if is_data else PAGES).items())
    headers = {
        **EVERYWHERE,
        "Content-Security-Policy": written.replace("script-src 'self'", f"script-src 'self'{hashes}"),
    }
    if not is_data:  # browsers refuse to open a sandboxed page that also names an opener policy
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
    if _is_https(scope):
        headers["Strict-Transport-Security"] = YEAR
    return headers | scope.get("state", {}).get("headers", {})


class Headers(Layer):
    """Adds them; on pages of the documentation it waits for the page, to name its scripts."""

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add headers that are not there yet."""
        start: list[Message] = []

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["path"].startswith(DOCUMENTATION):
                start.append(message)
                return
            if start:
                opening = start.pop()
                add(opening, of(scope, INLINE.findall(message.get("body", b""))))
                await send(opening)
            elif message["type"] == "http.response.start":
                add(message, of(scope))
            await send(message)

        await self.app(scope, receive, send_on)


def add(start: Message, headers: dict[str, str]) -> None:
    """To a message that opens a response."""
    there = MutableHeaders(scope=start)
    for name, value in headers.items():
        there.setdefault(name, value)


def _is_https(scope: Scope) -> bool:
    """Also behind a proxy that ends TLS; whoever claims it over plain HTTP gets a header that browsers ignore there."""
    return scope["scheme"] == "https" or (b"x-forwarded-proto", b"https") in scope["headers"]
