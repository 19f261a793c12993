"""Ray workers as copies of one process that has imported everything: ms and shared memory in place of seconds each.

- `hook` is what a worker's Python runs first, by `rayscribe_fork_server.pth`: it asks the server for a copy and ends,
  or goes on as usual where there is no server, or one that was started with another environment.
- `server` is that process, `preload` what it imports, and `worker` what its copies do to become what Ray started.
- `client` is the server of a service that starts its own Ray, `node` that of any other Ray's node; `starting` starts
  either.

Linux only. Workers that cannot be copies start as Ray starts them: slower, and otherwise the same.
"""
