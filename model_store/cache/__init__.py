"""The node cache: a machine's own copy of the snapshots that its replicas use."""
