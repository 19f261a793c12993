"""Scratch directories for downloads: each publisher's own, and what a killed one left is taken over.

<TMPDIR>/rayscribe-downloads-<uid>/<source>/<writer>        files and parts of files
<TMPDIR>/rayscribe-downloads-<uid>/<source>/<writer>.json   whose it is; without it anybody may take it
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path

from model_store.processes import identity, is_gone

KEPT_FOR_S = 7 * 24 * 3600.0


class Scratch:
    """A directory of one's own for the downloads of one source."""

    def __init__(self, source: str) -> None:
        self.parent = _root() / hashlib.sha256(source.encode()).hexdigest()[:16]
        self.parent.mkdir(exist_ok=True)
        self.path = self.parent / uuid.uuid4().hex
        # The name is claimed first: whoever sees the directory sees that it is taken.
        _owner(self.path).write_text(json.dumps(identity(os.getpid())))
        if not self._take_over():
            self.path.mkdir()

    def release(self) -> None:
        """Leave what is there to the next one."""
        _owner(self.path).unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove all."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.release()

    def _take_over(self) -> bool:
        """Make what nobody owns one's own; of two who try, one gets it."""
        for other in sorted(path for path in self.parent.iterdir() if path.is_dir()):
            if _is_free(other):
                with suppress(OSError):
                    os.rename(other, self.path)
                    _owner(other).unlink(missing_ok=True)
                    return True
        return False


def _owner(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _is_free(path: Path) -> bool:
    try:
        return is_gone(json.loads(_owner(path).read_text())) is True
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False


def _root() -> Path:
    """This user's place for downloads; a place of that name which is another's is not used."""
    root = Path(tempfile.gettempdir()) / f"rayscribe-downloads-{os.getuid()}"
    with suppress(FileExistsError):
        root.mkdir(mode=0o700)
    status = root.lstat()
    if root.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        return Path(tempfile.mkdtemp(prefix="rayscribe-downloads-"))
    _sweep(root)
    return root


def _sweep(root: Path) -> None:
    """Remove what nobody came back for."""
    for path in (path for path in root.glob("*/*") if path.is_dir()):
        with suppress(OSError):
            if _is_free(path) and time.time() - path.stat().st_mtime > KEPT_FOR_S:
                shutil.rmtree(path, ignore_errors=True)
                _owner(path).unlink(missing_ok=True)
