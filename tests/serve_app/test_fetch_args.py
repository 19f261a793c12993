"""What may be read by `url`: nothing by default, hosts and buckets as they are named, and no more."""

import pytest
from pydantic import ValidationError

from serve_app.config import LimitArgs
from serve_app.fetch_args import FetchArgs


def test_nothing_may_be_read_by_default() -> None:
    args = LimitArgs().fetch
    assert not args.allows_host("https", "example.com", None)
    assert not args.allows_object("calls", "a.wav")
    assert not args.may_be_private("localhost")


@pytest.mark.parametrize(
    ("pattern", "scheme", "host", "port", "allowed"),
    [
        ("media.example.com", "https", "media.example.com", None, True),
        ("Media.Example.com", "https", "media.example.com", 443, True),
        ("https://media.example.com", "https", "media.example.com", None, True),
        ("media.example.com", "http", "media.example.com", None, False),
        ("media.example.com", "https", "media.example.com", 8443, False),
        ("media.example.com:8443", "https", "media.example.com", 8443, True),
        ("media.example.com", "https", "example.com", None, False),
        ("media.example.com", "https", "media.example.com.evil.com", None, False),
        ("media.example.com", "https", "xmedia.example.com", None, False),
        ("*.example.com", "https", "a.b.example.com", None, True),
        ("*.example.com", "https", "example.com", None, False),
        ("*.example.com", "https", "evilexample.com", None, False),
        ("*", "https", "anything.org", None, True),
        ("*", "http", "anything.org", None, False),
        ("http://media.example.com", "http", "media.example.com", 80, True),
        ("http://media.example.com", "https", "media.example.com", None, False),
        ("http://localhost:9000", "http", "localhost", 9000, True),
        ("[::1]:8443", "https", "::1", 8443, True),
        ("s3://media", "https", "media", None, False),
    ],
)
def test_a_host_is_allowed_by_scheme_name_and_port(
    pattern: str, scheme: str, host: str, port: int | None, allowed: bool
) -> None:
    assert FetchArgs(allow=["other.org", pattern]).allows_host(scheme, host, port) == allowed


@pytest.mark.parametrize(
    ("pattern", "bucket", "key", "allowed"),
    [
        ("s3://calls", "calls", "a/b.wav", True),
        ("s3://calls", "calls2", "a.wav", False),
        ("s3://calls/in", "calls", "in/a.wav", True),
        ("s3://calls/in/", "calls", "in/a.wav", True),
        ("s3://calls/in", "calls", "inner/a.wav", False),
        ("s3://calls/in", "calls", "in", False),
        ("*", "calls", "a.wav", False),
    ],
)
def test_an_object_is_allowed_by_its_bucket_and_prefix(pattern: str, bucket: str, key: str, allowed: bool) -> None:
    assert FetchArgs(allow=[pattern]).allows_object(bucket, key) == allowed


@pytest.mark.parametrize(
    "text", ["", "ftp://host", "https://host/path", "exa mple", "*example.com", "a.*.b", "s3://", "**"]
)
def test_what_is_neither_host_nor_bucket_is_refused_with_how_to_write_it(text: str) -> None:
    with pytest.raises(ValidationError, match=r"neither a host, such as \*\.example\.com"):
        FetchArgs(allow=[text])


@pytest.mark.parametrize("text", ["*", "http://localhost", "s3://calls", ""])
def test_only_named_hosts_may_be_private(text: str) -> None:
    with pytest.raises(ValidationError, match="is no name of a host, such as"):
        FetchArgs(allow_private=[text])
    args = FetchArgs(allow_private=["minio.internal", "*.lan"])
    assert [args.may_be_private(host) for host in ("minio.internal", "a.lan", "lan", "example.com")] == [
        *(True, True, False, False)
    ]
