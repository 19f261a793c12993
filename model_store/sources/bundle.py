"""A model in a bundle as a source: to publish it again under another name or with other words about it."""

from pathlib import Path
from tempfile import TemporaryDirectory

from model_store.errors import SourceNotFound
from model_store.sources.base import Collected, allowed


class BundleSource:
    """One model of a bundle, unpacked for as long as what it gave is used."""

    def __init__(self, path: str, name: str, base: Path, allow: tuple[str, ...] = ()) -> None:
        self.path, self.name, self.allow = base / Path(path).expanduser(), name, allow

    def collect(self) -> Collected:
        """The model's files, with the hashes that its manifest promises; raises BundleError or SourceNotFound."""
        # Bundles are read into stores, which are published to from sources: imported here, the circle is none.
        from model_store.bundle import import_bundle
        from model_store.fetching.lookup import read_named_manifest
        from model_store.stores import DirectoryStore

        if not self.path.is_file():
            raise SourceNotFound(f"There is no bundle {self.path}.", "Check the path.")
        unpacked = TemporaryDirectory(prefix="model-store-bundle-")
        store = DirectoryStore(unpacked.name)
        with self.path.open("rb") as file:
            import_bundle(file, store, name=f"The bundle {self.path}")
        manifest = read_named_manifest(self.name, store)
        wanted = [entry for entry in manifest.files if allowed(entry.path, self.allow)]
        files = {entry.path: Path(str(store.local_path(entry.sha256))) for entry in wanted}
        if not files:
            raise SourceNotFound(f"{self.name} in {self.path} has no file that is wanted.", "Check `allow`.")
        promised = {entry.path: entry.sha256 for entry in wanted}
        return Collected(manifest.source, files, promised, manifest.gated, unpacked.cleanup)
