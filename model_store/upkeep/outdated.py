"""Which published models the hub has a newer commit of."""

from dataclasses import dataclass

from model_store.cache.hub_layout import hub_repository
from model_store.sources import HubSource
from model_store.stores import Store


@dataclass(frozen=True)
class Upstream:
    """A published model and its repository's main branch: what we hold, what the hub has now."""

    model: str
    repository: str
    published: str
    current: str

    @property
    def outdated(self) -> bool:
        """Whether the hub has moved on."""
        return self.published != self.current


def compare_with_hub(store: Store, name: str | None = None) -> list[Upstream]:
    """Ask the hub for the commit of each model that is published as latest; raises SourceUnreachable without network.

    Models from elsewhere are left out.
    """
    found = []
    commits: dict[str, str] = {}
    for ref in store.list_refs():
        if ref.tag != "latest" or name not in (None, ref.name):
            continue
        repository, published = hub_repository(store.read_manifest(ref.digest))
        if repository:
            if repository not in commits:
                commits[repository] = HubSource(repository).commit()
            found.append(Upstream(ref.name, repository, published, commits[repository]))
    return found
