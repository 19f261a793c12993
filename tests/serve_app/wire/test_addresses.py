"""No call goes to an address inside: what is checked is what is called, and TLS asks for the name."""

import httpx
import pytest

from serve_app.wire.addresses import AddressRefused, GuardedTransport, may_reach, reachable, resolve

PUBLIC = ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "8.8.8.8", "::ffff:8.8.8.8"]
INSIDE = [
    *("127.0.0.1", "127.8.9.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
    *("::1", "fd12::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "2002:a00:1::"),
]
NEVER = [
    *("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "0.0.0.0", "224.0.0.1"),
    *("fd00:ec2::254", "fe80::1", "fe80::1%eth0", "ff02::1", "::", "::ffff:169.254.169.254", "2002:a9fe:a9fe::"),
    *("64:ff9b::7f00:1", "64:ff9b:1::a00:1"),
]
ODD = ["240.0.0.1", "255.255.255.255", "::127.0.0.1", "fec0::1", "192.0.2.1", "2001:db8::1", "0.1.2.3", "198.18.0.1"]


@pytest.mark.parametrize("address", PUBLIC)
def test_the_internet_may_be_reached(address: str) -> None:
    assert may_reach(address)
    assert may_reach(address, private=True)


@pytest.mark.parametrize("address", INSIDE)
def test_what_is_inside_only_where_that_is_said(address: str) -> None:
    assert not may_reach(address)
    assert may_reach(address, private=True)


@pytest.mark.parametrize("address", NEVER)
def test_credentials_and_everybody_at_once_never(address: str) -> None:
    assert not may_reach(address)
    assert not may_reach(address, private=True)


@pytest.mark.parametrize("address", ODD)
def test_odd_addresses_are_not_the_internet(address: str) -> None:
    assert not may_reach(address)


class Names:
    """A resolver that gives one answer after another; the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


async def test_one_address_inside_spoils_a_name() -> None:
    assert await reachable("a.example", 443, resolve=Names(PUBLIC)) == PUBLIC
    with pytest.raises(AddressRefused, match=r"'a\.example' lies at a private or reserved address"):
        await reachable("a.example", 443, resolve=Names([*PUBLIC, "10.0.0.1"]))
    with pytest.raises(OSError, match="has no address"):
        await reachable("a.example", 443, resolve=Names([]))


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f000001", "127.1", "localhost", "::1"])
async def test_no_way_of_writing_this_machine_gets_by(host: str) -> None:
    with pytest.raises(AddressRefused):
        await reachable(host, 80, resolve=resolve)


class Calls(httpx.AsyncBaseTransport):
    """What is called; some addresses do not answer."""

    def __init__(self, deaf: tuple[str, ...] = ()) -> None:
        self.requests: list[httpx.Request] = []
        self._deaf = deaf

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.host in self._deaf:
            raise httpx.ConnectError("nobody there")
        return httpx.Response(200, content=await request.aread())


async def test_a_name_that_changes_its_mind_changes_nothing() -> None:
    """DNS rebinding: public when it is checked, inside when it is called."""
    names, calls = Names([PUBLIC[0]], ["127.0.0.1"]), Calls()
    async with httpx.AsyncClient(transport=GuardedTransport(resolve=names, inner=calls)) as client:
        answer = await client.post("https://hooks.example:8443/x?y=1", content=b"told")
        assert answer.content == b"told"
        (request,) = calls.requests
        assert str(request.url) == f"https://{PUBLIC[0]}:8443/x?y=1"
        assert request.headers["host"] == "hooks.example:8443"
        assert request.extensions["sni_hostname"] == "hooks.example"
        assert str(answer.request.url) == "https://hooks.example:8443/x?y=1"
        assert names.asked == [("hooks.example", 8443)]
        with pytest.raises(AddressRefused):
            await client.get("https://hooks.example/")
    assert len(calls.requests) == 1


async def test_the_next_address_is_called_when_one_does_not_answer() -> None:
    calls = Calls(deaf=(PUBLIC[0], PUBLIC[1]))
    async with httpx.AsyncClient(transport=GuardedTransport(resolve=Names(PUBLIC), inner=calls)) as client:
        assert (await client.get("https://a.example/")).status_code == 200
    assert [request.url.host for request in calls.requests] == PUBLIC[:3]


async def test_when_nobody_answers_the_last_error_stands() -> None:
    transport = GuardedTransport(resolve=Names(PUBLIC[:2]), inner=Calls(deaf=tuple(PUBLIC)))
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(httpx.ConnectError, match="nobody there"):
            await client.get("https://a.example/")


async def test_a_name_that_is_unknown_cannot_be_connected_to() -> None:
    async def unknown(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    async with httpx.AsyncClient(transport=GuardedTransport(resolve=unknown, inner=Calls())) as client:
        with pytest.raises(httpx.ConnectError, match="has no address"):
            await client.get("https://a.example/")


async def test_only_hosts_that_may_be_private_are() -> None:
    transport = GuardedTransport(lambda host: host == "minio.internal", Names(["10.0.0.5"]), Calls())
    async with httpx.AsyncClient(transport=transport) as client:
        assert (await client.get("http://minio.internal:9000/")).status_code == 200
        with pytest.raises(AddressRefused):
            await client.get("http://other.internal:9000/")
