"""Signatures and trust: only the keys that are trusted count, only for this very manifest, and pickles need a word."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_helpers import run_cli
from securesystemslib.dsse import Envelope
from store_helpers import INFO, publish_directory, write_model

from model_store import DirectoryStore, NotTrusted, Published, Reference, UsageError, publish
from model_store.publishing.pickles import WithoutPickles, is_pickle, named_like_pickle
from model_store.sources import DirectorySource
from model_store.trust.policy import TrustPolicy, require_trust
from model_store.trust.signing import (
    PAYLOAD_TYPE,
    KeyPair,
    PublicKey,
    check_signature,
    make_keys,
    merge_signatures,
    sign,
    signers,
)

OPENSSL = {
    "ed25519": ["-algorithm", "ed25519"],
    "ecdsa": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
}


@pytest.fixture(scope="module")
def keys() -> KeyPair:
    return make_keys()


def public(keys: KeyPair, name: str = "") -> PublicKey:
    return PublicKey.from_pem(keys.public_pem, name)


@pytest.mark.parametrize("kind", OPENSSL)
def test_openssl_keys_sign_and_check(tmp_path: Path, published: Published, kind: str) -> None:
    private = tmp_path / "key.pem"
    subprocess.run(["openssl", "genpkey", *OPENSSL[kind], "-out", private], check=True, capture_output=True)
    made = subprocess.run(["openssl", "pkey", "-in", private, "-pubout"], check=True, capture_output=True)
    key = PublicKey.from_pem(made.stdout)
    signature = sign(published.manifest, private.read_bytes())
    assert check_signature(published.manifest, signature, [key]) == key.key_id
    damaged = published.manifest.model_copy(update={"licence": "other"})
    with pytest.raises(NotTrusted, match="has the signature of something else"):
        check_signature(damaged, signature, [key])


def test_envelope_is_plain_dsse(published: Published, keys: KeyPair) -> None:
    signature = sign(published.manifest, keys.private_pem)
    assert signature == sign(published.manifest, keys.private_pem)
    envelope = Envelope.from_dict(json.loads(signature))
    assert (envelope.payload, envelope.payload_type) == (published.manifest.canonical(), PAYLOAD_TYPE)
    assert envelope.verify([public(keys).key], 1).keys() == {keys.key_id}


def test_one_trusted_key_of_several_is_enough(published: Published, keys: KeyPair) -> None:
    other, third = make_keys(), make_keys()
    manifest = published.manifest
    both = sign(manifest, other.private_pem, sign(manifest, keys.private_pem))
    assert signers(manifest, both) == sorted([keys.key_id, other.key_id])
    for pair in (keys, other):
        assert check_signature(manifest, both, [public(third), public(pair)]) == pair.key_id
    with pytest.raises(NotTrusted) as caught:
        check_signature(manifest, both, [public(third, "third.pem")])
    assert caught.value.exit_code == 4
    assert caught.value.details == {
        "model": "demo-whisper@v1",
        "signed_by": sorted([keys.key_id, other.key_id]),
        "trusted": [third.key_id],
    }
    for words in ("demo-whisper@v1", keys.key_id[:16], other.key_id[:16], "third.pem", "model-store sign"):
        assert words in str(caught.value)


def test_unsigned_is_not_trusted(published: Published, keys: KeyPair) -> None:
    with pytest.raises(NotTrusted, match="is not signed"):
        check_signature(published.manifest, None, [public(keys)])
    with pytest.raises(NotTrusted, match="trusted: no key"):
        check_signature(published.manifest, sign(published.manifest, keys.private_pem), [])


def forge(document: dict[str, Any]) -> None:
    document["signatures"][0]["sig"] = "A" * 86 + "=="


def shorten(document: dict[str, Any]) -> None:
    document["signatures"][0]["sig"] = "AAAA"


def retype(document: dict[str, Any]) -> None:
    document["payloadType"] = "text/plain"


def reload(document: dict[str, Any]) -> None:
    document["payload"] = "e30="


def empty(document: dict[str, Any]) -> None:
    document["signatures"] = []


def twice(document: dict[str, Any]) -> None:
    document["signatures"] *= 2


def nothing(document: dict[str, Any]) -> None:
    document.clear()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (forge, "a signature that its key did not make"),
        (shorten, "a signature that its key did not make"),
        (retype, "the signature of something else"),
        (reload, "the signature of something else"),
        (empty, "is signed by nobody"),
        (twice, "a damaged signature"),
        (nothing, "a damaged signature"),
    ],
)
def test_changed_signatures(
    published: Published, keys: KeyPair, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    document = json.loads(sign(published.manifest, keys.private_pem))
    change(document)
    with pytest.raises(NotTrusted, match=words):
        check_signature(published.manifest, json.dumps(document).encode(), [public(keys)])


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b"null", b'{"payload": 1}', b"[" * 100_000])
def test_damaged_signatures(published: Published, keys: KeyPair, raw: bytes) -> None:
    with pytest.raises(NotTrusted, match="a damaged signature"):
        check_signature(published.manifest, raw, [public(keys)])
    again = sign(published.manifest, keys.private_pem, raw)
    assert check_signature(published.manifest, again, [public(keys)]) == keys.key_id


def test_a_forged_signature_does_not_hide_a_good_one(published: Published, keys: KeyPair) -> None:
    other = make_keys()
    document = json.loads(sign(published.manifest, other.private_pem))
    shorten(document)
    merged = merge_signatures(
        published.manifest, json.dumps(document).encode(), None, sign(published.manifest, keys.private_pem)
    )
    assert check_signature(published.manifest, merged, [public(other), public(keys)]) == keys.key_id


def test_what_is_no_key(published: Published, keys: KeyPair) -> None:
    for pem in (b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", keys.private_pem):
        with pytest.raises(UsageError, match=r"x\.pem is not a public key.*keygen"):
            PublicKey.from_pem(pem, "x.pem")
    for pem in (b"", keys.public_pem):
        with pytest.raises(UsageError, match="not a private key"):
            sign(published.manifest, pem)
    with pytest.raises(UsageError, match="nowhere cannot be read"):
        PublicKey.load(Path("nowhere"))


@pytest.fixture
def policy(tmp_path: Path, keys: KeyPair) -> TrustPolicy:
    (tmp_path / "key.pub.pem").write_bytes(keys.public_pem)
    return TrustPolicy(keys=(tmp_path / "key.pub.pem",), allow_pickle=False)


def test_policy_with_keys(store: DirectoryStore, published: Published, keys: KeyPair, policy: TrustPolicy) -> None:
    manifest = published.manifest
    with pytest.raises(NotTrusted, match="is not signed"):
        require_trust(store, manifest, policy)
    store.write_signature(published.digest, sign(manifest, make_keys().private_pem))
    with pytest.raises(NotTrusted, match="is signed by"):
        require_trust(store, manifest, policy)
    store.write_signature(published.digest, sign(manifest, keys.private_pem))
    assert require_trust(store, manifest, policy, Reference("demo-whisper", "v1")) == keys.key_id
    with pytest.raises(NotTrusted, match="demo-align@latest leads to a manifest that was signed as demo-whisper@v1"):
        require_trust(store, manifest, policy, Reference("demo-align"))


def test_policy_without_keys_asks_for_no_signature(store: DirectoryStore, published: Published) -> None:
    assert require_trust(store, published.manifest, TrustPolicy()) is None
    assert require_trust(store, published.manifest, TrustPolicy(allow_pickle=False)) is None


@pytest.fixture
def pickled(tmp_path: Path, store: DirectoryStore) -> Published:
    root = write_model(tmp_path / "pickled", {"config.yaml": b"a: 1", "segmentation/pytorch_model.bin": b"PK\x03\x04"})
    return publish_directory(root, store, "demo-diarization")


def test_pickles_need_a_word_or_a_key(
    store: DirectoryStore, pickled: Published, keys: KeyPair, policy: TrustPolicy
) -> None:
    assert pickled.manifest.pickle
    assert require_trust(store, pickled.manifest, TrustPolicy()) is None
    with pytest.raises(NotTrusted) as caught:
        require_trust(store, pickled.manifest, TrustPolicy(allow_pickle=False))
    assert caught.value.details["pickles"] == ["segmentation/pytorch_model.bin"]
    for words in ("runs whatever code is in it", "allow_pickle", "keys"):
        assert words in str(caught.value)
    store.write_signature(pickled.digest, sign(pickled.manifest, keys.private_pem))
    assert require_trust(store, pickled.manifest, policy) == keys.key_id


def test_a_manifest_cannot_talk_its_pickles_away(store: DirectoryStore, pickled: Published) -> None:
    silent = pickled.manifest.model_copy(update={"pickle": False})
    with pytest.raises(NotTrusted, match=r"pytorch_model\.bin"):
        require_trust(store, silent, TrustPolicy(allow_pickle=False))


def test_flag_counts_without_a_name(store: DirectoryStore, published: Published) -> None:
    flagged = published.manifest.model_copy(update={"pickle": True})
    with pytest.raises(NotTrusted, match="its manifest says so"):
        require_trust(store, flagged, TrustPolicy(allow_pickle=False))


@pytest.mark.parametrize(
    ("path", "head", "pickled"),
    [
        ("pytorch_model.bin", b"PK\x03\x04", True),
        ("pytorch_model.bin", b"cos\nsystem\n", True),
        ("a/pytorch_model-00001-of-00002.bin", b"\x80\x02", True),
        ("x.CKPT", b"(dp0\n", True),
        ("x.pt", b"", False),
        ("pytorch_model.bin", b"\x06\x00\x00\x00", False),
        ("model.bin", b"\x06\x00\x00\x00", False),
        ("model.bin", b"PK\x03\x04", True),
        ("other.bin", b"\x80\x04", True),
        ("model.safetensors", b"\x80\x04", False),
        ("plda.npz", b"PK\x03\x04", False),
    ],
)
def test_what_counts_as_a_pickle(tmp_path: Path, path: str, head: bytes, pickled: bool) -> None:
    (tmp_path / "file").write_bytes(head)
    assert is_pickle(tmp_path / "file", path) is pickled


def test_names_of_pickles() -> None:
    assert named_like_pickle("a/b/pytorch_model.bin")
    assert not named_like_pickle("pytorch_model.bin/model.bin")


def test_source_without_pickles(tmp_path: Path, store: DirectoryStore) -> None:
    root = write_model(tmp_path / "p", {"config.json": b"{}", "deep/pytorch_model.bin": b"cos\nsystem\n"})
    source = WithoutPickles(DirectorySource(str(root), root), "mine")
    with pytest.raises(
        NotTrusted, match=r"mine from directory:p holds pickles: deep/pytorch_model\.bin.*--allow-pickle"
    ):
        publish(source, "mine", store, "v1", INFO)
    assert not store.root.exists()
    (root / "deep/pytorch_model.bin").unlink()
    assert publish(source, "mine", store, "v1", INFO).manifest.pickle is False


CATALOG = """
models:
  plain: {kind: wav2vec2-ctc, source: "directory:m", licence: MIT}
  listed: {kind: wav2vec2-ctc, source: "directory:m", licence: MIT, pickle: true}
  beside: {kind: wav2vec2-ctc, source: "directory:n", licence: MIT, extra: [{source: "directory:m", at: x}]}
"""


def test_publishing_asks_about_pickles(tmp_path: Path, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "m", {"pytorch_model.bin": b"PK\x03\x04"})
    write_model(tmp_path / "n", {"config.json": b"{}"})
    write_model(tmp_path / "configs", {"models.yaml": CATALOG.encode()})
    monkeypatch.chdir(tmp_path)
    to = ("--store", store.root)
    for refused in (["plain"], ["beside"], ["listed", "--from", "directory:m"]):
        done = run_cli("publish", *refused, *to)
        assert (done.code, "--allow-pickle" in done.err) == (4, True), refused
    assert not store.root.exists() or not store.list_refs()
    for let_in in (["listed"], ["plain", "--allow-pickle"], ["listed", "--from", "directory:m", "--allow-pickle"]):
        assert run_cli("publish", *let_in, *to).code == 0, let_in


def test_verbs(tmp_path: Path, store: DirectoryStore, published: Published) -> None:
    to = ("--store", store.root)
    for name in ("ours", "theirs"):
        assert run_cli("keygen", "--out", tmp_path / name).code == 0
    assert (tmp_path / "ours.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ours.pub.pem").stat().st_mode & 0o777 == 0o644
    secret = (tmp_path / "ours.pem").read_bytes()
    assert run_cli("keygen", "--out", tmp_path / "ours").code == 2
    assert (tmp_path / "ours.pem").read_bytes() == secret
    (tmp_path / "half.pub.pem").write_bytes(b"somebody's")
    assert run_cli("keygen", "--out", tmp_path / "half").code == 2
    assert not (tmp_path / "half.pem").exists()
    check = ("verify-signature", "demo-whisper", *to, "--key")
    assert run_cli(*check, tmp_path / "ours.pub.pem").code == 4
    assert run_cli("sign", "demo-whisper@v1", "--key", tmp_path / "ours.pub.pem", *to).code == 2
    assert run_cli("sign", "demo-whisper@v1", "--key", tmp_path / "ours.pem", *to).code == 0
    assert run_cli(*check, tmp_path / "theirs.pub.pem").code == 4
    shown = run_cli(*check, tmp_path / "theirs.pub.pem", "--key", tmp_path / "ours.pub.pem")
    assert (shown.code, "signed by" in shown.out, "ours.pub.pem" in shown.out) == (0, True, True)
    both = run_cli("sign", "demo-whisper", "--key", tmp_path / "theirs.pem", "--json", *to).json()
    assert len(both["signed_by"]) == 2
    assert run_cli(*check, tmp_path / "ours.pub.pem", "--json").json()["key"] in both["signed_by"]
    assert run_cli("sign", "demo-wisper", "--key", tmp_path / "ours.pem", *to).code == 3


def test_secret_goes_nowhere_else(tmp_path: Path) -> None:
    done = run_cli("keygen", "--out", tmp_path / "nowhere" / "key")
    assert (done.code, "cannot be written" in done.err) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_publish_signs(tmp_path: Path, model: Path, store: DirectoryStore, policy: TrustPolicy, keys: KeyPair) -> None:
    (tmp_path / "key.pem").write_bytes(keys.private_pem)
    line = ("publish", "mine", "--from", f"directory:{model}", "--kind", "whisper-ct2", "--store", store.root)
    assert run_cli(*line, "--sign", tmp_path / "nowhere.pem").code == 2
    assert not store.root.exists()
    digest = run_cli(*line, "--sign", tmp_path / "key.pem", "--json").json()[0]["digest"]
    assert require_trust(store, store.read_manifest(digest), policy) == keys.key_id


def test_command_line_fetches_only_what_is_trusted(
    tmp_path: Path, store: DirectoryStore, published: Published, keys: KeyPair
) -> None:
    (tmp_path / "key.pub.pem").write_bytes(keys.public_pem)
    fetching = ["fetch", "demo-whisper", "--store", store.url, "--key", tmp_path / "key.pub.pem", "--cache"]
    refused = run_cli(*fetching, tmp_path / "cache")
    assert (refused.code, (tmp_path / "cache" / "blobs").exists()) == (4, False)
    store.write_signature(published.digest, sign(published.manifest, keys.private_pem))
    assert run_cli(*fetching, tmp_path / "cache").code == 0


def test_command_line_keeps_pickles_out(tmp_path: Path, store: DirectoryStore) -> None:
    publish_directory(write_model(tmp_path / "pickled", {"model.pt": b"\x80\x04N."}), store, "pickled")
    fetching = ["fetch", "pickled", "--store", store.url, "--cache", tmp_path / "cache"]
    refused = run_cli(*fetching, "--no-pickle")
    assert (refused.code, "model.pt" in refused.err) == (4, True)
    assert run_cli(*fetching).code == 0
