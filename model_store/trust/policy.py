"""Trust: who must vouch for a manifest before its files are fetched, and whether pickles may come in."""

from dataclasses import dataclass
from pathlib import Path

from model_store.errors import NotTrusted
from model_store.manifest import Manifest
from model_store.publishing.pickles import DANGER, named_like_pickle
from model_store.references import Reference
from model_store.stores.base import Store
from model_store.trust.signing import PublicKey, check_signature


@dataclass(frozen=True)
class TrustPolicy:
    """What a fetch believes.

    keys: files of public keys in PEM; if there are any, one of them must have signed, and what it signed may hold
        pickles.
    allow_pickle: without keys, whether a manifest may hold pickles. The default allows them, since publishing asked
        already: say False for a store that others write to.
    """

    keys: tuple[Path, ...] = ()
    allow_pickle: bool = True


def require_trust(
    store: Store, manifest: Manifest, policy: TrustPolicy, reference: Reference | None = None
) -> str | None:
    """Raise NotTrusted unless the policy lets this manifest of a store in; returns the key id that vouches, if any.

    `reference`: what was asked for; a signed manifest under another model's name is refused.
    """
    signature = store.read_signature(manifest.digest) if policy.keys else None
    return require_trusted(manifest, signature, policy, reference)


def require_trusted(
    manifest: Manifest, signature: bytes | None, policy: TrustPolicy, reference: Reference | None = None
) -> str | None:
    """The same for a manifest and a signature that are at hand."""
    if policy.keys:
        key_id = check_signature(manifest, signature, [PublicKey.load(path) for path in policy.keys])
        if reference is not None and reference.name != manifest.name:
            raise _other_model(manifest, reference)
        return key_id
    if not policy.allow_pickle:
        _require_no_pickle(manifest)
    return None


def _require_no_pickle(manifest: Manifest) -> None:
    """The flag was set by who published; the names of the files tell what a loader would do all the same."""
    pickles = [entry.path for entry in manifest.files if named_like_pickle(entry.path)]
    if pickles or manifest.pickle:
        model = f"{manifest.name}@{manifest.revision}"
        raise NotTrusted(
            f"{model} holds pickles: {', '.join(pickles) or 'its manifest says so'}. {DANGER}.",
            "Trust the key of who signed it (keys), allow pickles (allow_pickle), or use a model without: wav2vec2 "
            "models can be published with --convert safetensors.",
            model=model,
            pickles=pickles,
        )


def _other_model(manifest: Manifest, reference: Reference) -> NotTrusted:
    return NotTrusted(
        f"{reference} leads to a manifest that was signed as {manifest.name}@{manifest.revision}.",
        f"Somebody moved the ref: publish {reference.name} again, or fetch {manifest.name}.",
        model=str(reference),
    )
