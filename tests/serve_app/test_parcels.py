"""Uploads on their way: by value and by reference, the same bytes at the end, one digest for the same file."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import content

from serve_app import parcels
from serve_app.options import DecodeOptions, RequestOptions
from serve_app.parcels import INLINE, pack, unpacked


@pytest.fixture(autouse=True)
def objects(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """An object store in a dictionary, with the signatures of Ray's."""
    held: dict[str, bytes] = {}

    def put(value: bytes) -> Any:
        held[name := f"ref{len(held)}"] = value
        return name

    monkeypatch.setattr("serve_app.parcels.ray.put", put)
    monkeypatch.setattr("serve_app.parcels.ray.get", lambda ref: held[ref])
    monkeypatch.setattr(parcels, "BLOCK", 1000)
    return held


async def unpack(parcel: parcels.Parcel) -> bytes:
    async with unpacked(parcel) as upload:
        if not isinstance(upload, (bytes, Path)):
            upload.seek(0)
        return content(upload)


@pytest.mark.parametrize("size", [0, 1, INLINE - 1, INLINE, INLINE + 1, INLINE + 2500])
async def test_what_is_packed_is_unpacked(size: int, tmp_path: Path, objects: dict[str, bytes]) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    data = data[:size]
    (path := tmp_path / "file").write_bytes(data)
    with tempfile.SpooledTemporaryFile() as spooled:
        spooled.write(data)
        packed = [pack(data), pack(path), pack(spooled)]  # type: ignore[arg-type]  # it has what is used of a file
    assert [await unpack(each) for each in packed] == [data] * 3
    assert len({each.digest for each in packed}) == 1
    assert bool(objects) == (size >= INLINE)
    assert max(map(len, objects.values()), default=0) <= INLINE


async def test_the_file_of_a_big_one_is_gone_afterwards() -> None:
    async with unpacked(pack(bytes(INLINE))) as upload:
        assert not isinstance(upload, (bytes, Path))
    assert upload.closed


def test_a_key_tells_files_and_options_apart_and_nothing_else() -> None:
    options = RequestOptions(decode=DecodeOptions(language="en"))
    same = RequestOptions(decode=DecodeOptions(language="en"))
    keys = [pack(data).key(each) for data in (b"a", b"b") for each in (options, replace(options, align=False))]
    assert len({*keys, pack(b"a").key(replace(options, nonce="mine"))}) == 5
    assert pack(b"a").key(same) == keys[0]
