"""No way of writing an address that is not public gets through."""

import ipaddress

import pytest

from store.addresses import BadAddress, checked, is_own, is_public, may_be_called
from store.settings import Settings

PRIVATE = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
    *("240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::", "::1", "fe80::1", "fc00::1", "fec0::1"),
    *("ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
    *("64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:7f00:1::", "2001:db8::1", "3fff::1", "100::1"),
    "5f00::1",
]
PUBLIC = ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822", "2002:5db8:d822::1"]
WRITTEN = [  # in other words: loopback, and the address where clouds keep their secrets
    *("2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.0.1.", "0", "①②⑦.⓪.⓪.①", "127。0。0。1"),
    *("[::ffff:127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]", "[::1]", "[::]", "2852039166", "0xA9FEA9FE", "%31%32%37.0.0.1"),
    *("localhost", "LOCALHOST", "localhost.", "a.localhost", "a.localhost.", "ⓛocalhost", "intranet", "example.com."),
]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_public_is_not_called(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address)) and not may_be_called(address, ())


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_called(address: str) -> None:
    assert is_public(ipaddress.ip_address(address)) and may_be_called(address, ())


@pytest.mark.parametrize("host", [*WRITTEN, *(f"[{a}]" if ":" in a else a for a in PRIVATE)])
def test_a_url_with_such_a_host_is_refused(host: str) -> None:
    with pytest.raises(BadAddress, match="is not a public host"):
        checked(f"https://{host}/hook", ())


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://hooks.example.com/", "must begin with https"),
        ("ftp://hooks.example.com/", "must begin with https"),
        ("file:///etc/passwd", "must begin with https"),
        ("hooks.example.com", "whole address"),
        ("https://", "whole address"),
        ("https://[fe80::1%25eth0]/", "whole address"),
        ("https://anna:secret@hooks.example.com/", "user or a password"),
        ("https://hooks.example.com\\@127.0.0.1/", None),
        ("https://127.0.0.1\\@hooks.example.com/", "is not a public host"),
        ("https://hooks.example.com#@127.0.0.1/", None),
        ("https://hooks.example.com:22/", "must have port 443"),
        ("https://hooks.example.com:0/", "must have port 443"),
        ("https://hooks.example.com:99999/", "whole address"),
        ("https://hooks.example.com/\r\nX-Evil: 1", "printable"),
        (f"https://hooks.example.com/{'a' * 2000}", "at most 2,000"),
    ],
)
def test_what_is_no_address_for_a_webhook_says_why(url: str, says: str | None) -> None:
    if says is None:  # a browser's reading of it: what comes after is a path or a fragment
        assert checked(url, ()).startswith("https://hooks.example.com/")
        return
    with pytest.raises(BadAddress, match=says):
        checked(url, ())


def test_a_url_gets_its_plain_form() -> None:
    assert checked("HTTPS://Hooks.Example.COM:443/a b?q=ü#part", ()) == "https://hooks.example.com/a%20b?q=%C3%BC"
    assert checked("https://bücher.example:8443", ()) == "https://xn--bcher-kva.example:8443/"


def test_hosts_of_our_own_are_allowed() -> None:
    own = Settings(webhook_hosts="Receiver, 127.0.0.0/8,fd00::/8").webhook_hosts  # type: ignore[arg-type]
    assert own == ("receiver", "127.0.0.0/8", "fd00::/8")
    for url in ("http://receiver:80/", "https://receiver/", "http://127.0.0.1:9/", "http://[fd00::1]:81/"):
        assert checked(url, own) == url.replace(":80/", "/")
    for address in ("127.1.2.3", "::ffff:127.0.0.1", "fd12::1"):
        assert may_be_called(address, own)
    assert is_own("receiver.", own) and not is_own("other", own)
    for url in ("http://10.0.0.1/", "http://other/", "https://10.0.0.1/", "http://example.com/", "ftp://receiver/"):
        with pytest.raises(BadAddress):
            checked(url, own)


def test_a_network_that_is_none_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="has host bits set"):
        Settings(webhook_hosts="10.0.0.1/8")  # type: ignore[arg-type]
