"""Bundles: snapshots of a store as one tar file, for places that no network reaches."""

from model_store.bundle.exporting import Exported, export_bundle, write_bundle
from model_store.bundle.importing import Imported, import_bundle

__all__ = ["Exported", "Imported", "export_bundle", "import_bundle", "write_bundle"]
