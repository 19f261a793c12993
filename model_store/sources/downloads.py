"""Downloads that go on where they were cut, for sources in buckets and behind web servers."""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import BaseError

from model_store.errors import ModelStoreError, SourceCorrupt, SourceError, SourceNotFound, SourceUnreachable
from model_store.files import NO_SPACE, make_directory, write_atomically
from model_store.stores.object_errors import Place, code_of, explain

if TYPE_CHECKING:
    from obstore import GetResult, ObjectMeta
    from obstore.store import ObjectStore as Backend

ATTEMPTS = 5
STEP = 64 * 1024
"""Bytes; what came before a cut is lost below this."""


@dataclass
class Downloads:
    """Files of one place, downloaded below `scratch`; what is there already and still the same is kept."""

    backend: "Backend"
    place: Place
    scratch: Path

    def get(self, path: str) -> Path:
        """One file; raises SourceNotFound, SourceUnreachable or SourceCorrupt."""
        try:
            return self._get(path)
        except ModelStoreError:
            raise
        except (FileNotFoundError, BaseError, ValueError) as error:
            raise self.explained(error, path) from error
        except OSError as error:
            full = error.errno in NO_SPACE
            raise SourceError(
                f"{path} cannot be downloaded to {self.scratch}: {error.strerror}.",
                "Free some space there, or set TMPDIR to a larger disk." if full else "Set TMPDIR to a writable place.",
            ) from error

    def explained(self, error: Exception, path: str = "") -> SourceError:
        """The error to raise for one of obstore's."""
        if isinstance(error, FileNotFoundError) and code_of(error) in ("", "NoSuchKey"):
            return SourceNotFound(f"{self.place.url} has no {path}.", "Check the address and `allow`.", path=path)
        reason = explain(error, self.place)
        return SourceUnreachable(f"{path}: {reason.problem}" if path else reason.problem, reason.mend, path=path)

    def _get(self, path: str) -> Path:
        part = _Part(self.scratch, path)
        reason: Exception | None = None
        for _ in range(ATTEMPTS):
            had = part.size
            try:
                if self._go_on(part, path):
                    return part.finish()
            except (BaseError, ValueError) as error:
                # What came before the cut is kept; only a server that gives nothing more is given up.
                if part.size <= had and reason is not None:
                    raise
                reason = error
        raise SourceCorrupt(
            f"{path} at {self.place.url} ends too early: {part.size} of {part.promised} bytes, {ATTEMPTS} times.",
            "Try again later; if it stays so, the server or a proxy before it is at fault.",
            path=path,
        ) from reason

    def _go_on(self, part: "_Part", path: str) -> bool:
        """Bring the rest of a file; says whether it is all there."""
        if part.size and part.is_complete:
            if part.fits(obstore.head(self.backend, path)):
                return True
            part.begin_anew()
        answer = self._ask(part, path)
        if not part.fits(answer.meta):
            if part.size:  # another file than the one begun
                part.begin_anew()
                answer = self._ask(part, path)
            part.remember(answer.meta)
        part.append(answer)
        return part.is_complete

    def _ask(self, part: "_Part", path: str) -> "GetResult":
        """From where the part ends; from the start where the server knows no ranges."""
        if part.size:
            try:
                return obstore.get(self.backend, path, options={"range": {"offset": part.size}})
            except (BaseError, ValueError) as error:
                if "range" not in str(error).partition("\n")[0].lower() and "416" not in str(error):
                    raise
            part.begin_anew()
        return obstore.get(self.backend, path)


class _Part:
    """A file on its way: its bytes so far, and what the server said of it."""

    def __init__(self, scratch: Path, path: str) -> None:
        name = hashlib.sha256(path.encode()).hexdigest()
        self.file = make_directory(scratch / "parts") / name
        self.mark = scratch / "parts" / f"{name}.json"
        self.target = scratch / "files" / path
        if self.target.is_file():
            os.replace(self.target, self.file)

    @property
    def size(self) -> int:
        """Bytes that are there."""
        try:
            return self.file.stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def promised(self) -> int | None:
        """Bytes that the server promised, if it was asked."""
        size = self._said().get("size")
        return size if isinstance(size, int) else None

    @property
    def is_complete(self) -> bool:
        """Whether all promised bytes are there."""
        return self.file.exists() and self.size == self.promised

    def fits(self, meta: "ObjectMeta") -> bool:
        """Whether the server still speaks of the same bytes."""
        return self._said() == _told(meta)

    def remember(self, meta: "ObjectMeta") -> None:
        """Keep what the server says of the file, before any of its bytes."""
        write_atomically(self.mark, json.dumps(_told(meta)).encode())

    def begin_anew(self) -> None:
        """Forget all bytes."""
        self.file.unlink(missing_ok=True)
        self.mark.unlink(missing_ok=True)

    def append(self, answer: "GetResult") -> None:
        """Write what comes, as it comes, and no more than was promised."""
        with self.file.open("ab") as file:
            for chunk in answer.stream(min_chunk_size=STEP):
                file.write(chunk)

    def finish(self) -> Path:
        """Give the file its name."""
        make_directory(self.target.parent)
        os.replace(self.file, self.target)
        return self.target

    def _said(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            said = json.loads(self.mark.read_text())
            return said if isinstance(said, dict) else {}
        return {}


def _told(meta: "ObjectMeta") -> dict[str, Any]:
    return {"size": meta["size"], "etag": meta["e_tag"], "modified": meta["last_modified"].isoformat()}
