"""Looking up what a store holds under a name."""

from fnmatch import fnmatchcase

from model_store.errors import NotPublished
from model_store.fetching.fetch import not_published
from model_store.manifest import Manifest
from model_store.references import Reference
from model_store.stores import Ref, Store


def read_named_manifest(name: str, store: Store) -> Manifest:
    """The manifest that `name[@tag|@sha256:…]` stands for; raises NotPublished."""
    return store.read_manifest(digest_of(Reference.parse(name), store))


def digest_of(reference: Reference, store: Store) -> str:
    """The manifest digest that a reference stands for; raises NotPublished."""
    digest = reference.digest or store.read_ref(reference.name, reference.tag)
    if digest is None:
        raise not_published(reference, store)
    return digest


def select_refs(name: str, store: Store) -> tuple[set[str], list[Ref]]:
    """The manifest digests that `name`, a glob pattern, `name@tag` or `name@sha256:…` mean, and the refs to them.

    A bare name means its latest and every tag that stands for the same manifest.
    """
    refs = store.list_refs()
    if any(mark in name for mark in "*?["):
        chosen = [ref for ref in refs if fnmatchcase(ref.name, name)]
        if not chosen:
            names = ", ".join(sorted({ref.name for ref in refs})) or "nothing"
            raise NotPublished(f"No model in the store at {store.url} matches {name!r}; it holds: {names}.")
        return {ref.digest for ref in chosen}, chosen
    reference = Reference.parse(name)
    digest = digest_of(reference, store)
    tag = reference.tag if "@" in name and reference.digest is None else None
    same = [ref for ref in refs if ref.name == reference.name and ref.digest == digest]
    return {digest}, [ref for ref in same if tag in (None, ref.tag)]
