"""Signatures: a DSSE envelope over a manifest's canonical bytes, by Ed25519, ECDSA or RSA keys in PEM.

The file hashes are in the manifest, so its signature vouches for every byte of the snapshot.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_store.errors import NotTrusted, UsageError
from model_store.manifest import Manifest

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import CryptoSigner, SSlibKey

PAYLOAD_TYPE = "application/vnd.rayscribe.manifest+json"
_MAKE_KEY = "Make a pair with: model-store keygen --out NAME"


@dataclass(frozen=True)
class PublicKey:
    """Who may vouch for a manifest: the sha256 that names the key, and the file it came from."""

    key_id: str
    name: str
    key: "SSlibKey"

    @classmethod
    def from_pem(cls, pem: bytes, name: str = "") -> "PublicKey":
        """Read a public key in PEM; raises UsageError if it is none, or of a kind that nobody here can check."""
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
        from securesystemslib.signer import SSlibKey

        try:
            key = SSlibKey.from_crypto(load_pem_public_key(pem))
        except Exception as error:  # noqa: BLE001 - the library names no common class for what it cannot read
            raise UsageError(f"{name or 'This'} is not a public key in PEM: {error}.", _MAKE_KEY) from None
        return cls(key.keyid, name, key)

    @classmethod
    def load(cls, path: Path) -> "PublicKey":
        """Read a public key's file; raises UsageError."""
        return cls.from_pem(read_key(path), str(path))

    def __str__(self) -> str:
        return f"{self.key_id[:16]} ({self.name})" if self.name else self.key_id[:16]


@dataclass(frozen=True)
class KeyPair:
    """A new private key and its public key, both in PEM, and the sha256 that names them."""

    key_id: str
    private_pem: bytes
    public_pem: bytes


def read_key(path: Path) -> bytes:
    """The bytes of a key's file; raises UsageError if it cannot be read."""
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise UsageError(f"The key {path} cannot be read: {error.strerror}.", _MAKE_KEY) from None


def make_keys() -> KeyPair:
    """A new pair of Ed25519 keys, the same as `openssl genpkey -algorithm ed25519` makes."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return KeyPair(PublicKey.from_pem(public).key_id, secret, public)


def sign(manifest: Manifest, private_key_pem: bytes, beside: bytes | None = None) -> bytes:
    """An envelope with this key's signature, and with those of the envelope `beside`; raises UsageError."""
    envelope = _merged(manifest, [beside])
    envelope.sign(_signer(private_key_pem))
    return _write(envelope)


def merge_signatures(manifest: Manifest, *envelopes: bytes | None) -> bytes:
    """One envelope with the signatures of all, unchecked; of one key the last counts."""
    return _write(_merged(manifest, envelopes))


def signers(manifest: Manifest, signature: bytes | None) -> list[str]:
    """The ids of the keys that an envelope says signed this manifest, unchecked and sorted."""
    return sorted(_merged(manifest, [signature]).signatures)


def check_signature(manifest: Manifest, signature: bytes | None, trusted: Sequence[PublicKey]) -> str:
    """The id of a trusted key that vouches for this very manifest; raises NotTrusted if there is none."""
    from securesystemslib.exceptions import UnverifiedSignatureError

    if signature is None:
        raise _not_trusted(manifest, "is not signed", [], trusted)
    envelope = _read(manifest, signature, trusted)
    signed_by = sorted(envelope.signatures)
    forged = False
    for key in trusted:
        if key.key_id in envelope.signatures:
            try:
                key.key.verify_signature(envelope.signatures[key.key_id], envelope.pae())
            except UnverifiedSignatureError:
                forged = True
            else:
                return key.key_id
    if forged:
        raise _not_trusted(manifest, "has a signature that its key did not make", signed_by, trusted)
    raise _not_trusted(manifest, f"is signed by {_short(signed_by) or 'nobody'}", signed_by, trusted)


def _signer(pem: bytes) -> "CryptoSigner":
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    try:
        return CryptoSigner(load_pem_private_key(pem, None))
    except Exception as error:  # noqa: BLE001 - the library names no common class for what it cannot read
        raise UsageError(f"This is not a private key in PEM without a password: {error}.", _MAKE_KEY) from None


def _merged(manifest: Manifest, envelopes: Iterable[bytes | None]) -> "Envelope":
    """Damaged envelopes, and those of something else, are worth nothing to anybody and are left out."""
    from securesystemslib.dsse import Envelope

    merged = Envelope(manifest.canonical(), PAYLOAD_TYPE, {})
    for envelope in envelopes:
        with suppress(NotTrusted):
            merged.signatures.update(_read(manifest, envelope).signatures if envelope else {})
    return merged


def _read(manifest: Manifest, signature: bytes, trusted: Sequence[PublicKey] = ()) -> "Envelope":
    """The envelope if it is whole and of this manifest; what it says is not checked yet."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import Error

    try:
        envelope = Envelope.from_dict(json.loads(signature))
    except (Error, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _not_trusted(manifest, "has a damaged signature", [], trusted) from None
    if envelope.payload_type != PAYLOAD_TYPE or envelope.payload != manifest.canonical():
        raise _not_trusted(manifest, "has the signature of something else", sorted(envelope.signatures), trusted)
    return envelope


def _write(envelope: "Envelope") -> bytes:
    document: dict[str, Any] = envelope.to_dict()
    document["signatures"].sort(key=lambda signature: signature["keyid"])
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _short(key_ids: list[str]) -> str:
    return ", ".join(key_id[:16] for key_id in key_ids)


def _not_trusted(manifest: Manifest, what: str, signed_by: list[str], trusted: Sequence[PublicKey]) -> NotTrusted:
    model = f"{manifest.name}@{manifest.revision}"
    return NotTrusted(
        f"{model} (sha256:{manifest.digest[:12]}) {what}; trusted: {', '.join(map(str, trusted)) or 'no key'}.",
        f"Have it signed by who holds a trusted key (model-store sign {model} --key FILE), or trust another key if "
        "you know whose it is.",
        model=model,
        signed_by=signed_by,
        trusted=[key.key_id for key in trusted],
    )
