"""What every store must do, whatever it is made of."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from store_backends import READABLE, WRITABLE, Backend, backend
from store_helpers import FILES, INFO, content

from model_store import (
    CorruptBlob,
    FileEntry,
    Manifest,
    ManifestError,
    MissingBlob,
    MissingManifest,
    NodeCache,
    Origin,
    Ref,
    UsageError,
    fetch,
    parse_source,
    publish,
    verify,
)
from model_store.stores.objects import PART

A, B = "a" * 64, "b" * 64


@pytest.fixture(params=READABLE)
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with backend(request.param, tmp_path) as made:
        yield made


@pytest.fixture(params=WRITABLE)
def writable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with backend(request.param, tmp_path) as made:
        yield made


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put(store: Backend, content: bytes) -> str:
    digest = digest_of(content)
    store.writer.put_blob(digest, len(content), [content[i : i + 1_000_000] for i in range(0, len(content), 1_000_000)])
    return digest


def manifest(name: str = "m") -> Manifest:
    entry = FileEntry(path="a", size=1, sha256=A, blake3=A)
    return Manifest(name=name, revision="v1", kind="k", source=Origin(url="directory:m"), created="now", files=(entry,))


def test_refs_are_read_as_written(any_store: Backend) -> None:
    assert any_store.reader.read_ref("a", "v1") is None
    any_store.writer.write_ref("a", "v1", A)
    any_store.writer.write_ref("org/deep/name", "v1", B)
    assert any_store.reader.read_ref("a", "v1") == A
    assert any_store.reader.read_ref("org/deep/name", "v1") == B
    assert any_store.reader.read_ref("a", "v2") is None
    any_store.writer.write_ref("a", "v1", B)
    assert any_store.reader.read_ref("a", "v1") == B


def test_refs_are_listed_and_forgotten(writable: Backend) -> None:
    refs = [Ref("a", "latest", A), Ref("a", "v1", B), Ref("b/c", "v.2", A), Ref("b/d", "x", B), Ref("z", "1", A)]
    assert writable.reader.list_refs() == []
    for ref in reversed(refs):
        writable.writer.write_ref(ref.name, ref.tag, ref.digest)
    assert writable.reader.list_refs() == refs
    writable.writer.delete_ref("a", "v1")
    writable.writer.delete_ref("a", "v1")
    assert writable.reader.list_refs() == [ref for ref in refs if ref.tag != "v1"]


def test_names_that_are_part_of_another_are_refused(writable: Backend) -> None:
    writable.writer.write_ref("a", "b", A)
    writable.writer.write_ref("x/y", "z", A)
    for name, tag in (("a/b", "v1"), ("a/b/c", "v1"), ("x", "y")):
        with pytest.raises(UsageError, match="clashes"):
            writable.writer.write_ref(name, tag, A)
    assert len(writable.reader.list_refs()) == 2


def test_what_is_no_digest_is_no_ref(any_store: Backend) -> None:
    any_store.writer.write_ref("a", "v1", A)
    any_store.spoil("refs/a/v1", b"not a digest\n")
    assert any_store.reader.read_ref("a", "v1") is None


def test_manifests_are_read_as_written_and_checked(any_store: Backend) -> None:
    made = manifest()
    with pytest.raises(MissingManifest, match="no manifest"):
        any_store.reader.read_manifest(made.digest)
    any_store.writer.write_manifest(made)
    assert any_store.reader.read_manifest(made.digest) == made
    any_store.spoil(f"manifests/{made.digest}.json", made.canonical()[:-1] + b" ")
    with pytest.raises(ManifestError, match="damaged"):
        any_store.reader.read_manifest(made.digest)


def test_signatures_lie_beside_manifests(any_store: Backend) -> None:
    assert any_store.reader.read_signature(A) is None
    any_store.writer.write_signature(A, b"signed")
    assert any_store.reader.read_signature(A) == b"signed"


def test_manifests_are_listed_and_removed_with_their_signatures(writable: Backend) -> None:
    made = [manifest(f"m{number}") for number in range(5)]
    for one in made:
        writable.writer.write_manifest(one)
    writable.writer.write_signature(made[0].digest, b"signed")
    assert writable.reader.list_manifests() == sorted(one.digest for one in made)
    for _ in range(2):
        writable.writer.delete_manifest(made[0].digest)
    assert writable.reader.list_manifests() == sorted(one.digest for one in made[1:])
    assert writable.reader.read_signature(made[0].digest) is None


@pytest.mark.parametrize("size", [0, 1, 2, 999_999, PART, PART + 1])
def test_blobs_of_every_size(any_store: Backend, size: int) -> None:
    whole = (b"%08d" % size + bytes(range(251)) * (size // 250 + 1))[:size]
    digest = put(any_store, whole)
    reader = any_store.reader
    assert reader.has_blob(digest, size)
    assert not reader.has_blob(digest, size + 1)
    assert reader.read_blob(digest, 0, size) == whole
    for start, length in ((0, 0), (0, 1), (size // 2, size - size // 2), (size - 1, 1), (size, 0)):
        if 0 <= start <= start + length <= size:
            assert reader.read_blob(digest, start, length) == whole[start : start + length]


@pytest.mark.parametrize(("size", "start", "length"), [(0, 0, 1), (1, 0, 2), (1, 1, 1), (10, 12, 3), (10, 5, 6)])
def test_reads_past_the_end_are_told(any_store: Backend, size: int, start: int, length: int) -> None:
    digest = put(any_store, b"0123456789"[:size])
    with pytest.raises(CorruptBlob, match=f"instead of {start + length}") as caught:
        any_store.reader.read_blob(digest, start, length)
    assert type(caught.value) is CorruptBlob


@pytest.mark.parametrize(("start", "length"), [(0, 0), (0, 1), (5, 3)])
def test_missing_blobs_are_told(any_store: Backend, start: int, length: int) -> None:
    put(any_store, b"another")
    assert not any_store.reader.has_blob(A, 7)
    assert not any_store.reader.checked_blob(A, 7)
    with pytest.raises(MissingBlob, match=A):
        any_store.reader.read_blob(A, start, length)


@pytest.mark.parametrize("given", [b"other", b"", b"right and more", b"righ", b"x" * (PART + 5)])
def test_wrong_bytes_leave_nothing(writable: Backend, given: bytes) -> None:
    right = b"right" if len(given) < PART else b"y" * (PART + 5)
    before = writable.keys()
    with pytest.raises(CorruptBlob, match="changed while it was published"):
        writable.writer.put_blob(digest_of(right), len(right), [given])
    assert not writable.reader.has_blob(digest_of(right), len(right))
    assert list(writable.reader.list_blobs()) == []
    assert writable.keys() == before


@pytest.mark.parametrize("size", [10, PART + 5])
@pytest.mark.parametrize("failure", [OSError("the disk"), FileNotFoundError("gone"), KeyboardInterrupt(), ValueError()])
def test_failure_of_the_giver_is_raised_as_it_is(writable: Backend, size: int, failure: BaseException) -> None:
    if isinstance(failure, OSError) and writable.writer.local_path(A) is not None:
        pytest.skip("a directory store cannot tell whose OSError it is")

    def chunks() -> Iterator[bytes]:
        yield b"x" * (size - 1)
        raise failure

    with pytest.raises(type(failure)) as caught:
        writable.writer.put_blob(A, size, chunks())
    assert caught.value is failure
    assert list(writable.reader.list_blobs()) == []


def test_blobs_are_replaced_listed_and_removed(writable: Backend) -> None:
    digests = {put(writable, b"%d" % number): 1 for number in range(5)}
    first = min(digests)
    writable.spoil(f"blobs/sha256/{first[:2]}/{first}", b"wrong")
    assert {blob.digest: blob.size for blob in writable.reader.list_blobs()} == {**digests, first: 5}
    assert all(1_700_000_000 < blob.modified < 4_000_000_000 for blob in writable.reader.list_blobs())
    for number in range(5):
        put(writable, b"%d" % number)
    assert {blob.digest: blob.size for blob in writable.reader.list_blobs()} == digests
    for _ in range(2):
        writable.writer.delete_blob(first)
    assert first not in {blob.digest for blob in writable.reader.list_blobs()}


def test_spoilt_blob_is_not_vouched_for(writable: Backend) -> None:
    digest = put(writable, b"right")
    vouched = writable.reader.checked_blob(digest, 5)
    assert not writable.reader.checked_blob(digest, 6)
    writable.spoil(f"blobs/sha256/{digest[:2]}/{digest}", b"wrong")
    assert writable.reader.has_blob(digest, 5)
    assert not writable.reader.checked_blob(digest, 5)
    assert vouched is (writable.writer.url.startswith(("s3:", "memory:")))


def test_threads_read_at_once(any_store: Backend) -> None:
    whole = bytes(range(256)) * 4096
    digest, step = put(any_store, whole), 65_536
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda at: any_store.reader.read_blob(digest, at, step), range(0, len(whole), step)))
    assert b"".join(parts) == whole


def test_published_model_is_fetched_whole(any_store: Backend, model: Path, cache: NodeCache) -> None:
    done = publish(parse_source(f"directory:{model}"), "org/m", any_store.writer, "v1", INFO)
    snapshot = fetch("org/m@v1", any_store.reader, cache)
    assert (snapshot.digest, content(snapshot.path)) == (done.digest, FILES)
    assert verify(any_store.writer) == []
    again = publish(parse_source(f"directory:{model}"), "org/m", any_store.writer, "v1", INFO)
    assert (again.digest, again.reused, again.uploaded_bytes) == (done.digest, True, 0)
