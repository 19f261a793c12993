"""Stores: the shared places that snapshots are published to."""

from model_store.stores.base import Blob, Ref, Store
from model_store.stores.directory import DirectoryStore
from model_store.stores.opening import open_store

__all__ = ["Blob", "DirectoryStore", "Ref", "Store", "open_store"]
