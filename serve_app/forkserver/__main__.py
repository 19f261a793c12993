"""The fork server's process; see `server`."""

import socket
import sys

from serve_app.forkserver.preload import SERVE, WHISPER
from serve_app.forkserver.server import Server, prepare
from serve_app.forkserver.worker import run
from serve_app.models.environment import go_offline

if __name__ == "__main__":
    listening, parent, *later = sys.argv[1:]
    server = Server(socket.socket(fileno=int(listening)), int(parent))
    go_offline()
    prepare([SERVE, WHISPER])
    if worker := server.serve(later):
        run(worker)
