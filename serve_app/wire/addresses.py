"""Calling out on somebody's behalf: never to an address inside the network, whatever a name or a redirect says.

A name is resolved once, all of its addresses are checked, and the connection goes to one that was: a name server that
answers otherwise the second time changes nothing. TLS still asks for the certificate of the name.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpx

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""From a host and a port to its addresses; raises OSError."""

METADATA = frozenset(map(ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16")))
"""Where clouds tell a machine its credentials."""
UNUSUAL = tuple(map(ip_network, ("192.0.0.0/24", "64:ff9b::/96", "64:ff9b:1::/48")))
"""Python counts these as global; the last two lead to any IPv4 address behind a translator."""
PORTS = {"https": 443, "http": 80}


class AddressRefused(Exception):
    """A host lies where nobody may send this service."""


def may_reach(address: str, *, private: bool = False) -> bool:
    """Return whether an address may be called: one of the internet, or, if `private`, of a private network or here.

    Link-local, multicast, reserved and metadata addresses may never.
    """
    found = _plain(ip_address(address.partition("%")[0]))
    odd = found.is_multicast or found.is_link_local or found.is_unspecified or found in METADATA
    if odd or any(found in network for network in UNUSUAL if network.version == found.version):
        return False
    if found.is_loopback or private:
        return private
    return found.is_global and not found.is_reserved and not getattr(found, "is_site_local", False)


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 one stands for."""
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address.sixtofour or address
    return address


async def resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


async def reachable(host: str, port: int, *, private: bool = False, resolve: Resolve = resolve) -> list[str]:
    """Return a host's addresses; raises `AddressRefused` if one of them may not be called, and OSError."""
    addresses = await resolve(host, port)
    if not addresses:
        raise OSError(f"'{host}' has no address")
    if not all(may_reach(address, private=private) for address in addresses):
        raise AddressRefused(f"'{host}' lies at a private or reserved address")
    return addresses


def _nobody(host: str) -> bool:
    return False


class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends httpx's requests only to addresses that may be called; `private` says which hosts may be at private ones.

    Raises `AddressRefused`, or httpx's errors. Knows no proxy, and keeps no connection: two names may share an address.
    """

    def __init__(
        self,
        private: Callable[[str], bool] = _nobody,
        resolve: Resolve = resolve,
        inner: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._private, self._resolve = private, resolve
        self._inner = inner or httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request to the first of its host's addresses that takes it."""
        host = request.url.raw_host.decode()
        addresses = await self._addresses(request, host)
        for address in addresses[:-1]:
            try:
                return await self._inner.handle_async_request(_sent_to(address, host, request))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._inner.handle_async_request(_sent_to(addresses[-1], host, request))

    async def _addresses(self, request: httpx.Request, host: str) -> list[str]:
        port = request.url.port or PORTS[request.url.scheme]
        try:
            return await reachable(host, port, private=self._private(host), resolve=self._resolve)
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(f"'{host}' has no address", request=request) from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()


def _sent_to(address: str, host: str, request: httpx.Request) -> httpx.Request:
    """Return the request to an address; its Host header and the name that TLS asks for stay."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host},
    )
