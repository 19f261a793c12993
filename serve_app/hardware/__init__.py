"""What a machine has, whether a service can run on it, and which Serve config suits it."""
