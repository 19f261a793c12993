"""A source whose files somebody wrote the hashes of down, so that no mirror of it need be believed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from model_store.errors import SourceCorrupt
from model_store.sources.base import Collected, Source


@dataclass(frozen=True)
class PinnedSource:
    """A source, and the sha256 that some of its files must have; whoever reads them compares."""

    source: Source
    sha256: Mapping[str, str]

    def collect(self) -> Collected:
        """What the source gives, with these promises before its own; raises SourceCorrupt if a file is missing."""
        collected = self.source.collect()
        missing = sorted(set(self.sha256) - set(collected.files))
        if missing:
            raise SourceCorrupt(
                f"{collected.origin.url} has no {missing[0]}, whose sha256 is written down.",
                "Check `sha256` and `allow` in the catalog.",
                path=missing[0],
            )
        return replace(collected, sha256={**collected.sha256, **self.sha256})
