"""Manifests: identity, strictness, safe paths; references."""

import hashlib
import json

import pytest

from model_store import BadReference, FileEntry, Manifest, ManifestError, Origin, Reference, UnsafePath
from model_store.manifest import read_manifest

DIGEST = "0" * 64


def manifest(*paths: str, **changes: object) -> Manifest:
    files = tuple(FileEntry(path=path, size=1, sha256=DIGEST, blake3=DIGEST) for path in paths or ("a",))
    values = {"name": "m", "revision": "v1", "kind": "k", "source": Origin(url="directory:m"), "created": "now"}
    return Manifest.model_validate({**values, "files": files, **changes})


def test_canonical_json_is_sorted_compact_and_read_back_equal() -> None:
    made = manifest("a", "b/c", languages=("de", "en"))
    raw = made.canonical()
    assert raw == json.dumps(json.loads(raw), sort_keys=True, separators=(",", ":")).encode()
    assert made.digest == hashlib.sha256(raw).hexdigest()
    assert read_manifest(raw, made.digest) == made


def test_digest_tells_any_change() -> None:
    changes = [{}, {"created": "later"}, {"licence": "MIT"}, {"pickle": True}, {"memory_mb": 1}]
    assert len({manifest(**change).digest for change in changes}) == len(changes)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "a/../../x", "a//b", "", ".", "a/.", "a\\b", "C:/x", "a\x00b", "a\nb", "x" * 1025]
)
def test_unsafe_paths_are_refused(path: str) -> None:
    with pytest.raises(UnsafePath, match="safe path"):
        FileEntry(path=path, size=1, sha256=DIGEST, blake3=DIGEST)


@pytest.mark.parametrize(
    "paths", [("a", "A"), ("a", "a"), ("a", "a/b"), ("Stra\u00dfe", "STRASSE"), ("e\u0301", "\u00e9")]
)
def test_clashing_paths_are_refused(paths: tuple[str, ...]) -> None:
    with pytest.raises(UnsafePath):
        manifest(*paths)


def test_traversal_in_a_stored_manifest_is_refused() -> None:
    document = json.loads(manifest("a").canonical())
    document["files"][0]["path"] = "../../outside"
    raw = json.dumps(document).encode()
    with pytest.raises(UnsafePath, match="outside"):
        read_manifest(raw, hashlib.sha256(raw).hexdigest())


def test_flipped_bit_in_a_manifest_is_noticed() -> None:
    made = manifest("a")
    with pytest.raises(ManifestError, match="damaged") as caught:
        read_manifest(made.canonical().replace(b"v1", b"v2"), made.digest)
    assert caught.value.details["expected"] == made.digest


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 4}, "Upgrade rayscribe"),
        ({"schema_version": 2}, "Publish the model again"),
        ({"colour": "red"}, "colour"),
        ({"files": []}, "files"),
    ],
)
def test_unknown_manifests_are_explained(change: dict[str, object], words: str) -> None:
    raw = json.dumps({**json.loads(manifest("a").canonical()), **change}).encode()
    with pytest.raises(ManifestError, match=words):
        read_manifest(raw, hashlib.sha256(raw).hexdigest())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("demo", Reference("demo", "latest")),
        ("systran/faster-whisper-small@v1", Reference("systran/faster-whisper-small", "v1")),
        (f"demo@sha256:{DIGEST}", Reference("demo", digest=DIGEST)),
    ],
)
def test_references_are_parsed(text: str, expected: Reference) -> None:
    assert Reference.parse(text) == expected


@pytest.mark.parametrize("text", ["", "@v1", "a@", "../a", "a/", "/a", "a@sha256:12", "a@md5:1", "a b", "a@../b", ".a"])
def test_wrong_references_are_refused(text: str) -> None:
    with pytest.raises(BadReference, match="name@tag"):
        Reference.parse(text)
