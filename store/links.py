"""Addresses that open one file of an S3 server for a while: AWS Signature Version 4, in the query."""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class Signer:
    """Who signs, and for which region; token: of temporary keys."""

    key: str
    secret: str
    region: str
    token: str = ""

    def link(self, url: str, headers: Iterable[tuple[str, str]], at: datetime, seconds: int) -> str:
        """A GET of this address, from `at` (UTC) on for so many seconds; headers: of the answer, such as Content-Type.

        Source: Amazon S3 API Reference, Authenticating Requests: Using Query Parameters.
        """
        day, moment = f"{at:%Y%m%d}", f"{at:%Y%m%dT%H%M%SZ}"
        scope = f"{day}/{self.region}/s3/aws4_request"
        query = {
            "X-Amz-Algorithm": ALGORITHM,
            "X-Amz-Credential": f"{self.key}/{scope}",
            "X-Amz-Date": moment,
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": "host",
            **({"X-Amz-Security-Token": self.token} if self.token else {}),
            **{f"response-{name.lower()}": value for name, value in headers},
        }
        asked = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(query.items()))
        place = urlsplit(url)
        request = "\n".join(("GET", place.path, asked, f"host:{place.netloc}\n", "host", "UNSIGNED-PAYLOAD"))
        signed = "\n".join((ALGORITHM, moment, scope, hashlib.sha256(request.encode()).hexdigest()))
        key = f"AWS4{self.secret}".encode()
        for part in (day, self.region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        return f"{url}?{asked}&X-Amz-Signature={hmac.digest(key, signed.encode(), 'sha256').hex()}"
