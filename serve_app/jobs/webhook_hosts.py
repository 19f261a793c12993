"""Where webhooks may be sent: to the world by https, and to whoever is allowed by name; to no private network."""

import socket
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from serve_app.errors import BadRequest
from serve_app.jobs.args import WebhookArgs

LONGEST_URL = 2000


def allowed_webhook(url: str, args: WebhookArgs) -> str:
    """Return the URL; raises BadRequest where none may be sent to. What its name leads to is seen by `address_of`."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _refused(f"'{url[:100]}' is no URL") from None
    if not host or parts.scheme not in ("http", "https") or len(url) > LONGEST_URL:
        raise _refused(f"'{url[:100]}' is no URL of a web server; give one such as https://example.org/hook")
    if parts.username or parts.password:
        raise _refused("a URL with a name or a password is not called; put a secret token into its path")
    if not _listed(host, args.allowed_hosts):
        _check(parts, host)
    return url


def address_of(url: str, args: WebhookArgs) -> str:
    """Return the address to connect to; blocks on the name's resolution. Raises BadRequest, or OSError."""
    parts = urlsplit(allowed_webhook(url, args))
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = [str(each[4][0]) for each in socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)]
    if not _listed(parts.hostname or "", args.allowed_hosts):
        for address in found:
            if not _public(address):
                raise _refused(f"'{parts.hostname}' leads to the private address {address}; {_MEND}")
    return found[0]


_MEND = "name the host in jobs.webhook.allowed_hosts"


def _check(parts: SplitResult, host: str) -> None:
    if parts.scheme != "https":
        raise _refused(f"plain http is not called; use https, or {_MEND}")
    try:
        public = _public(host)
    except ValueError:  # it is a name
        public = host != "localhost" and not host.endswith(".localhost")
    if not public:
        raise _refused(f"'{host}' is a private address; {_MEND}")


def _public(address: str) -> bool:
    from serve_app.wire.addresses import may_reach  # httpx takes a fifth of a second, for whoever has webhooks

    return may_reach(address)


def _listed(host: str, allowed: Sequence[str]) -> bool:
    return any(host == each or (each.startswith("*.") and host.endswith(each[1:])) for each in allowed)


def _refused(why: str) -> BadRequest:
    return BadRequest(f"webhook_url: {why}", "webhook_url")
