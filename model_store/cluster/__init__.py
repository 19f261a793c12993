"""Fetching in a cluster: one node reads the store, the others read from nodes that have the snapshot.

Only `on_ray` knows Ray, and imports it when it is called.
"""

from model_store.cluster.peers import PeerFirst
from model_store.cluster.tracker import Plan, Tracker

__all__ = ["PeerFirst", "Plan", "Tracker"]
