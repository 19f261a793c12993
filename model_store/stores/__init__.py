"""Stores: the shared places that snapshots are published to."""

from model_store.stores.base import Blob, Ref, Store
from model_store.stores.chain import StoreChain
from model_store.stores.directory import DirectoryStore
from model_store.stores.objects import ObjectStore
from model_store.stores.opening import open_store
from model_store.stores.web import WebStore

__all__ = ["Blob", "DirectoryStore", "ObjectStore", "Ref", "Store", "StoreChain", "WebStore", "open_store"]
