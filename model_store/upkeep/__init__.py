"""Looking after stores and caches: verify, repair, copy, remove, collect, diagnose."""
