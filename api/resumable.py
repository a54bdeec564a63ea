"""What the tus protocol, version 1.0, wants of every request and response under /v1/transfers."""

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from api.layer import Layer

VERSION = "1.0.0"
PATHS = re.compile(r"/v1/((models|datasets)/)?transfers(/|$)")
METHODS = ("HEAD", "PATCH", "DELETE", "OPTIONS")


class Resumable(Layer):
    """Names the protocol in every response, errors too; a POST may stand for another method.

    Some networks let only GET and POST through; X-HTTP-Method-Override says what is meant.
    """

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with the headers of the protocol."""
        if not PATHS.match(scope["path"]):
            await self.app(scope, receive, send)
            return
        meant = Headers(scope=scope).get("x-http-method-override", "").upper()
        if scope["method"] == "POST" and meant in METHODS:
            scope = {**scope, "method": meant}

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Tus-Resumable"] = VERSION
                headers["Cache-Control"] = "no-store"
            await send(message)

        await self.app(scope, receive, send_on)
