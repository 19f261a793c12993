"""Sizes as people write them, and nothing else."""

import pytest

from model_store import UsageError
from model_store.sizes import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("50GB", 50 * 10**9),
        ("50GiB", 50 * 2**30),
        ("1.5 TB", 15 * 10**11),
        ("512", 512),
        ("1kB", 1000),
        ("2MiB", 2**21),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1GB", "50 G", "50gb", "GB", "1e9", "0.1", "50GB free", "٣GB0x"])
def test_what_is_not_a_size(text: str) -> None:
    with pytest.raises(UsageError, match="50GiB"):
        parse_size(text)
