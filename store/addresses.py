"""Which addresses of other machines this service may call: a stranger's URL must not reach what is ours."""

import ipaddress
from collections.abc import Sequence

from pydantic import ValidationError
from pydantic_core import Url

from store.errors import StoreError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
DOCUMENTATION = ipaddress.IPv6Network("3fff::/20")  # Python 3.11 counts it as global
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
HTTPS, FIRST_FREE = 443, 1024
LONGEST = 2000


class BadAddress(StoreError, ValueError):
    """This address is not one that may be called."""


def checked(url: str, own: Sequence[str]) -> str:
    """A webhook's URL in its plain form, all ways of writing an address (0x7f.1, 127。0。0。1) made one.

    A name is not resolved here: what it resolves to is checked when it is called.
    Args: own: SECATEUR_WEBHOOK_HOSTS. Raises: BadAddress.
    """
    if len(url) > LONGEST or not url.isprintable():
        raise BadAddress(f"must be at most {LONGEST:,} printable characters")
    try:
        parsed = Url(url)
    except ValidationError as error:
        raise BadAddress("must be a whole address, such as https://hooks.example.com/secateur") from error
    if parsed.username or parsed.password:
        raise BadAddress("must not carry a user or a password: messages are signed, check their signature instead")
    host = parsed.host or ""
    literal = _literal(host)
    if not (is_own(host, own) or (literal and _in_networks(literal, own))):
        _check_public(parsed, host, literal)
    elif parsed.scheme not in ("https", "http") or not parsed.port:
        raise BadAddress("must begin with https:// or http://, and have a port")
    return str(parsed).partition("#")[0]


def host_of(url: str) -> str:
    """The host of a checked URL."""
    return Url(url).host or ""


def is_own(host: str, own: Sequence[str]) -> bool:
    """Whether this name is one of those of our own."""
    return host.rstrip(".").lower() in own


def may_be_called(address: str, own: Sequence[str]) -> bool:
    """Whether an address that a name resolved to is public, or in one of our own networks."""
    found = _literal(address)
    return found is not None and (is_public(found) or _in_networks(found, own))


def is_public(address: Address) -> bool:
    """Whether it is one of the Internet's; one that carries an IPv4 address (mapped, NAT64, 6to4) is judged by that."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast and not address.is_reserved
    if (inner := _inner(address)) is not None:
        return is_public(inner)
    return address in GLOBAL_UNICAST and address not in DOCUMENTATION and address.is_global


def _check_public(url: Url, host: str, literal: Address | None) -> None:
    """Raises: BadAddress."""
    if url.scheme != "https":
        raise BadAddress("must begin with https:// (http:// is for hosts in SECATEUR_WEBHOOK_HOSTS)")
    if url.port != HTTPS and (url.port or 0) < FIRST_FREE:
        raise BadAddress(f"must have port {HTTPS}, or one from {FIRST_FREE} on")
    is_local = "." not in host or host.endswith((".", ".localhost"))
    if (literal is None and is_local) or (literal is not None and not is_public(literal)):
        raise BadAddress(
            f"{host} is not a public host, and this service calls no others; "
            "its operator can allow it in SECATEUR_WEBHOOK_HOSTS"
        )


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _in_networks(address: Address, own: Sequence[str]) -> bool:
    """A mapped address counts as what it maps to."""
    inner = _inner(address) if isinstance(address, ipaddress.IPv6Address) else None
    return any((inner or address) in network for host in own if (network := _network(host)))


def _network(host: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(host)
    except ValueError:
        return None
