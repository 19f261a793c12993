"""Verbs of signatures: make keys, sign, check."""

import os
from pathlib import Path
from typing import Annotated

import typer

from model_store.cli.common import STORE, JsonOption, StoreOption, app
from model_store.console import print_json
from model_store.errors import UsageError
from model_store.fetching.lookup import read_named_manifest
from model_store.files import write_atomically
from model_store.manifest import Manifest
from model_store.stores import Store, open_store
from model_store.trust.signing import PublicKey, check_signature, make_keys, read_key, sign, signers


@app.command()
def keygen(
    out: Annotated[Path, typer.Option("--out", help="Writes OUT.pem (secret) and OUT.pub.pem.")],
    as_json: JsonOption = False,
) -> None:
    """Make a pair of Ed25519 keys to sign manifests with."""
    private, public = out.with_name(f"{out.name}.pem"), out.with_name(f"{out.name}.pub.pem")
    if private.exists() or public.exists():
        raise UsageError(f"{private} or {public} is there already.", "Give another --out: a lost key cannot be had.")
    keys = make_keys()
    _write_secret(private, keys.private_pem)
    write_atomically(public, keys.public_pem)
    if as_json:
        print_json({"key": keys.key_id, "private": str(private), "public": str(public)})
    else:
        print(f"{private} (keep it secret) and {public}, key {keys.key_id[:16]}")


def _write_secret(path: Path, content: bytes) -> None:
    """Readable by its owner from the first moment on, and never over another key."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageError(f"The key {path} cannot be written: {error.strerror}.", "Give another --out.") from None


@app.command("sign")
def sign_command(
    name: str,
    key: Annotated[Path, typer.Option("--key", help="Your private key in PEM.")],
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Sign NAME[@TAG|@sha256:DIGEST] in the store; signatures by other keys stay."""
    place = open_store(store)
    manifest = read_named_manifest(name, place)
    sign_in_store(manifest, key, place)
    if as_json:
        signed_by = signers(manifest, place.read_signature(manifest.digest))
        print_json({"name": manifest.name, "digest": manifest.digest, "signed_by": signed_by})
    else:
        print(f"{manifest.name}@{manifest.revision}  sha256:{manifest.digest[:12]}  signed")


def sign_in_store(manifest: Manifest, key: Path, store: Store) -> None:
    """Add a signature to those that the store keeps of a manifest."""
    store.write_signature(manifest.digest, sign(manifest, read_key(key), store.read_signature(manifest.digest)))


@app.command("verify-signature")
def verify_signature(
    name: str,
    key: Annotated[list[Path], typer.Option("--key", help="A public key in PEM that is trusted; may be repeated.")],
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Check that a trusted key signed NAME[@TAG|@sha256:DIGEST]; exit code 4 if none did."""
    place = open_store(store)
    manifest = read_named_manifest(name, place)
    trusted = [PublicKey.load(path) for path in key]
    key_id = check_signature(manifest, place.read_signature(manifest.digest), trusted)
    signer = next(str(one) for one in trusted if one.key_id == key_id)
    if as_json:
        print_json({"name": manifest.name, "digest": manifest.digest, "key": key_id})
    else:
        print(f"{manifest.name}@{manifest.revision}  sha256:{manifest.digest[:12]}  signed by {signer}")
