"""The blobs of one manifest on their way into a store, several at once."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event, Lock

from model_store.errors import CorruptBlob, MissingBlob, NotPublished
from model_store.files import read_chunks
from model_store.manifest import FileEntry, Manifest
from model_store.progress import Progress
from model_store.stores import Store
from model_store.upkeep.verify import hash_blob

AT_ONCE = 4
ROUNDS = 3


class Upload:
    """One manifest's blobs. `files`: where each path's bytes are; `deep`: read back even what the store vouches for.

    Blobs that are complete stay in the store, so an upload that was killed goes on with the next one.
    """

    def __init__(
        self,
        manifest: Manifest,
        files: dict[str, Path],
        store: Store,
        progress: Progress,
        *,
        deep: bool = False,
    ) -> None:
        self.manifest, self.files, self.store, self.progress, self.deep = manifest, files, store, progress, deep
        self.entries = list({entry.sha256: entry for entry in manifest.files}.values())
        self.size = sum(entry.size for entry in self.entries)
        self.uploaded_bytes = 0
        self._done = 0
        self._lock = Lock()
        self._stopping = Event()

    def run(self) -> None:
        """Write the blobs that the store lacks or holds damaged."""
        self._each(self._bring, self.entries)

    def settle(self) -> None:
        """Put back what somebody removed before the refs named it; raises MissingBlob if that does not end."""
        for _ in range(ROUNDS):
            missing = self._missing()
            if not missing and self._manifest_is_there():
                return
            self._each(self._put, missing)
            self.store.write_manifest(self.manifest)
        raise MissingBlob(
            f"Something keeps removing blobs of {self.manifest.name} from the store at {self.store.url}.",
            "Stop what prunes the store, then publish again.",
            expected=self.manifest.digest,
            got="",
        )

    def _missing(self) -> list[FileEntry]:
        missing: list[FileEntry] = []

        def check(entry: FileEntry) -> None:
            if not self.store.has_blob(entry.sha256, entry.size):
                missing.append(entry)

        self._each(check, self.entries)
        return missing

    def _manifest_is_there(self) -> bool:
        try:
            self.store.read_manifest(self.manifest.digest)
        except NotPublished:
            return False
        return True

    def _bring(self, entry: FileEntry) -> None:
        if self._is_whole(entry):
            self._advance(entry.size)
        else:
            self._put(entry)

    def _is_whole(self, entry: FileEntry) -> bool:
        if not self.deep and self.store.checked_blob(entry.sha256, entry.size):
            return True
        try:
            return self.store.has_blob(entry.sha256, entry.size) and hash_blob(self.store, entry) == entry.sha256
        except CorruptBlob:
            return False

    def _put(self, entry: FileEntry) -> None:
        self.store.put_blob(entry.sha256, entry.size, self._counted(self.files[entry.path]))
        with self._lock:
            self.uploaded_bytes += entry.size

    def _counted(self, file: Path) -> Iterator[bytes]:
        for chunk in read_chunks(file):
            if self._stopping.is_set():
                raise InterruptedError("another upload failed")
            yield chunk
            self._advance(len(chunk))

    def _advance(self, count: int) -> None:
        with self._lock:
            self._done = min(self._done + count, self.size)
            self.progress(self._done, self.size)

    def _each(self, act: Callable[[FileEntry], None], entries: Iterable[FileEntry]) -> None:
        """Act on all, several at once; the first failure (Ctrl-C too) ends them all."""
        pool = ThreadPoolExecutor(AT_ONCE, "upload")
        try:
            for future in as_completed([pool.submit(act, entry) for entry in entries]):
                future.result()
        except BaseException:
            self._stopping.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
