"""Hashes of pieces and of all bytes: quick ones, and what they say of damage."""

import hashlib
import itertools
import json
import multiprocessing
import sys
import threading
from pathlib import Path

import pytest
from blake3 import blake3
from store_helpers import FILES, PIECE, CountingStore, FaultyStore, blob_of, cut

from model_store import FileEntry, Manifest, ManifestError, NodeCache, Published, fetch, verify
from model_store.hashing import hash_all, quick_hash
from model_store.manifest import PIECE as USUAL_PIECE
from model_store.manifest import read_manifest
from model_store.upkeep.verify import hash_blob, hash_local


class FarStore(FaultyStore):
    """A store that is no directory of this machine."""

    def local_path(self, digest: str) -> Path | None:
        return None


@pytest.fixture
def manifest(model: Path, store: CountingStore, published: Published) -> Manifest:
    return cut(model, store, published)


def model_entry(manifest: Manifest) -> FileEntry:
    return next(entry for entry in manifest.files if entry.path == "model.bin")


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE + 3])
def test_all_hashes_agree_with_the_plain_ones(tmp_path: Path, size: int) -> None:
    data = bytes(itertools.islice(itertools.cycle(b"speech"), size))
    (tmp_path / "file").write_bytes(data)
    hashes = hash_all(tmp_path / "file", PIECE)
    assert (hashes.size, hashes.piece_size) == (size, PIECE)
    assert hashes.sha256 == hashlib.sha256(data).hexdigest()
    assert hashes.blake3 == blake3(data).hexdigest() == quick_hash(tmp_path / "file")
    entry = FileEntry(path="file", **vars(hashes))
    pieces = entry.checked_pieces()
    assert b"".join(data[piece.start :][: piece.length] for piece in pieces) == data
    assert [piece.blake3 for piece in pieces] == [
        blake3(data[start : start + PIECE]).hexdigest() for start in range(0, size, PIECE)
    ]


@pytest.mark.parametrize("change", [{"piece_size": 0}, {"piece_size": 2 * USUAL_PIECE}, {"pieces": []}])
def test_pieces_that_do_not_fit_are_refused(manifest: Manifest, change: dict[str, object]) -> None:
    document = json.loads(manifest.canonical())
    for file in document["files"]:
        file.update(change)
    raw = json.dumps(document).encode()
    with pytest.raises(ManifestError, match="files"):
        read_manifest(raw, hashlib.sha256(raw).hexdigest())


def test_quick_hash_works_in_a_forked_process(tmp_path: Path) -> None:
    """Its threads are not there after a fork; waiting for them would hang a worker for good."""
    (tmp_path / "file").write_bytes(FILES["model.bin"])
    expected = quick_hash(tmp_path / "file")
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=lambda: answers.put(quick_hash(tmp_path / "file")))
    child.start()
    child.join(20)
    child.kill()
    child.join()
    assert child.exitcode == 0
    assert answers.get() == expected


@pytest.mark.parametrize("far", [False, True])
def test_damage_in_a_store_is_told_with_path_expected_and_got(
    far: bool, store: CountingStore, manifest: Manifest, published: Published
) -> None:
    place = FarStore(store.root) if far else store
    assert verify(place) == []
    blob, entry = blob_of(store, published, "model.bin"), model_entry(manifest)
    with blob.open("r+b") as file:
        for at in (PIECE + 5, 3 * PIECE):
            file.seek(at)
            file.write(b"!")
    got = f"2 wrong pieces, the first at byte {PIECE}" if far else hashlib.sha256(blob.read_bytes()).hexdigest()
    found = [problem for problem in verify(place) if problem.path == "model.bin"]
    assert {(problem.expected, problem.got) for problem in found if "latest" in problem.model} == {(entry.sha256, got)}
    with blob.open("r+b") as file:
        file.truncate(10)
    assert {problem.got for problem in verify(place)} == {f"no blob of {entry.size} bytes"}


def test_read_that_falls_short_is_a_wrong_piece(store: CountingStore, manifest: Manifest) -> None:
    far, entry = FarStore(store.root), model_entry(manifest)
    far.fault = lambda start, content: content[:-1] if start == 2 * PIECE else content
    assert hash_blob(far, entry) == f"1 wrong pieces, the first at byte {2 * PIECE}"


def test_far_store_is_read_over_several_connections(store: CountingStore, manifest: Manifest) -> None:
    far, together = FarStore(store.root), threading.Barrier(5)

    def meet(start: int, content: bytes) -> bytes:
        together.wait(20)  # breaks unless five reads are under way at once
        return content

    far.fault = meet
    assert hash_blob(far, model_entry(manifest)) == model_entry(manifest).sha256
    assert far.bytes_read() == model_entry(manifest).size


def test_manifest_that_contradicts_itself_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"speech")
    entry = FileEntry(path="file", **{**vars(hash_all(tmp_path / "file")), "blake3": "0" * 64})
    assert hash_local(tmp_path / "file", entry) == f"a blake3 other than {'0' * 64}"


def test_unreadable_bytes_are_a_problem_not_a_crash(
    store: CountingStore, manifest: Manifest, cache: NodeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk's read error, as a bad sector gives it."""
    snapshot = fetch("demo-whisper", store, cache)

    def bad_sector(path: Path) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys.modules["model_store.upkeep.verify"], "quick_hash", bad_sector)
    assert {problem.got for problem in verify(snapshot)} == {"Input/output error"}
