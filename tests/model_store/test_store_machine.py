"""Random work on every writable store beside a model of plain dictionaries: both must tell the same."""

import contextlib
import hashlib
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from store_backends import WRITABLE, backend
from store_helpers import INFO

from model_store import CorruptBlob, MissingBlob, MissingManifest, parse_source, publish, verify
from model_store.stores.base import stream_blob

CONTENTS = st.sampled_from([b"", b"x", b"some bytes", b"other byte", b"z" * 3000])
NAMES = st.sampled_from(["a", "b", "org/c"])
TAGS = st.sampled_from(["v1", "v2", "latest"])
MODELS = st.dictionaries(st.sampled_from(["config.json", "sub/model.bin", "x"]), CONTENTS, min_size=1)


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class StoreMachine(RuleBasedStateMachine):
    """`blobs`: what the store holds, spoilt or not; `refs`, `manifests`: the same."""

    kind = ""

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.root = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.backend = self.stack.enter_context(backend(self.kind, self.root))
        self.store = self.backend.writer
        self.blobs: dict[str, bytes] = {}
        self.refs: dict[tuple[str, str], str] = {}
        self.manifests: dict[str, dict[str, bytes]] = {}

    def teardown(self) -> None:
        self.stack.close()

    @rule(content=CONTENTS)
    def put(self, content: bytes) -> None:
        self.store.put_blob(digest_of(content), len(content), [content[:5], content[5:]])
        self.blobs[digest_of(content)] = content

    @rule(content=CONTENTS, wrong=st.sampled_from([b"", b"wrong"]))
    def put_wrong(self, content: bytes, wrong: bytes) -> None:
        if content != wrong:
            with pytest.raises(CorruptBlob):
                self.store.put_blob(digest_of(content), len(content), [wrong])

    @rule(content=CONTENTS)
    def delete(self, content: bytes) -> None:
        self.store.delete_blob(digest_of(content))
        self.blobs.pop(digest_of(content), None)

    @rule(content=CONTENTS, damage=st.sampled_from([b"", b"some bytez", b"longer than it was before"]))
    def spoil(self, content: bytes, damage: bytes) -> None:
        digest = digest_of(content)
        if digest in self.blobs:
            self.backend.spoil(f"blobs/sha256/{digest[:2]}/{digest}", damage)
            self.blobs[digest] = damage

    @rule(content=CONTENTS, start=st.integers(0, 12), length=st.integers(0, 12))
    def read(self, content: bytes, start: int, length: int) -> None:
        digest = digest_of(content)
        held = self.blobs.get(digest)
        if held is not None and (length == 0 or start + length <= len(held)):
            assert self.store.read_blob(digest, start, length) == held[start : start + length]
        else:
            with pytest.raises(CorruptBlob) as caught:
                self.store.read_blob(digest, start, length)
            assert isinstance(caught.value, MissingBlob) is (held is None)

    @rule(name=NAMES, tag=TAGS, content=CONTENTS)
    def point(self, name: str, tag: str, content: bytes) -> None:
        self.store.write_ref(name, tag, digest_of(content))
        self.refs[name, tag] = digest_of(content)

    @rule(name=NAMES, tag=TAGS)
    def forget(self, name: str, tag: str) -> None:
        self.store.delete_ref(name, tag)
        self.refs.pop((name, tag), None)

    @rule(name=NAMES, tag=TAGS, files=MODELS)
    def publish(self, name: str, tag: str, files: dict[str, bytes]) -> None:
        with tempfile.TemporaryDirectory() as root:
            for path, content in files.items():
                (Path(root) / path).parent.mkdir(exist_ok=True)
                (Path(root) / path).write_bytes(content)
            done = publish(parse_source(f"directory:{root}"), name, self.store, tag, INFO)
        self.manifests[done.digest] = files
        self.refs[name, tag] = self.refs[name, "latest"] = done.digest
        self.blobs |= {digest_of(content): content for content in files.values()}
        for entry in done.manifest.files:
            assert b"".join(stream_blob(self.store, entry.sha256, entry.size)) == files[entry.path]

    @rule(data=st.data())
    def delete_manifest(self, data: Any) -> None:
        if self.manifests:
            digest = data.draw(st.sampled_from(sorted(self.manifests)))
            self.store.delete_manifest(digest)
            del self.manifests[digest]

    @invariant()
    def refs_agree(self) -> None:
        assert {(ref.name, ref.tag): ref.digest for ref in self.store.list_refs()} == self.refs
        for name, tag in (("a", "v1"), ("org/c", "latest")):
            assert self.store.read_ref(name, tag) == self.refs.get((name, tag))

    @invariant()
    def blobs_agree(self) -> None:
        assert {blob.digest: blob.size for blob in self.store.list_blobs()} == {
            digest: len(content) for digest, content in self.blobs.items()
        }
        for digest, content in self.blobs.items():
            assert self.store.has_blob(digest, len(content))
            assert not self.store.checked_blob(digest, len(content)) or digest_of(content) == digest

    @invariant()
    def manifests_agree(self) -> None:
        assert self.store.list_manifests() == sorted(self.manifests)
        for digest, files in self.manifests.items():
            assert {entry.path for entry in self.store.read_manifest(digest).files} == set(files)
        for lost in set(self.refs.values()) - set(self.manifests):
            with pytest.raises(MissingManifest):
                self.store.read_manifest(lost)

    @invariant()
    def verify_tells_what_is_wrong(self) -> None:
        right = {digest for digest, content in self.blobs.items() if digest_of(content) == digest}
        wrong = {
            (ref, path)
            for ref, digest in self.refs.items()
            for path, content in self.manifests.get(digest, {"manifest": b"\0"}).items()
            if digest_of(content) not in right
        }
        told = {problem.path for problem in verify(self.store)}
        assert told == {path for _, path in wrong}


@pytest.mark.parametrize("kind", WRITABLE)
def test_stores_behave_like_dictionaries(kind: str) -> None:
    machine = type("Machine", (StoreMachine,), {"kind": kind})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=12,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
