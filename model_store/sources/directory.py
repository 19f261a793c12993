"""A directory of this machine as a source."""

from pathlib import Path

from model_store.errors import SourceNotFound
from model_store.manifest import Origin
from model_store.sources.base import Collected, files_below


class DirectorySource:
    """The files below a directory, without hidden ones. A snapshot in a Hugging Face cache will do too."""

    def __init__(self, path: str, base: Path, allow: tuple[str, ...] = ()) -> None:
        self.spec = path
        self.path = base / Path(path).expanduser()
        self.allow = allow

    def collect(self) -> Collected:
        """List the files; raises SourceNotFound if there are none."""
        if not self.path.is_dir():
            raise SourceNotFound(f"There is no directory {self.path}.", "Check the path, or make the model first.")
        files = files_below(self.path, self.allow, self._hub_blobs())
        if not files:
            raise SourceNotFound(f"{self.path} holds no file to publish.", "Check the path and `allow`.")
        return Collected(Origin(url=f"directory:{self._portable()}"), files)

    def _hub_blobs(self) -> tuple[Path, ...]:
        """In `models--x/snapshots/<commit>` the files are links to `models--x/blobs`."""
        blobs = self.path.resolve().parent.parent / "blobs"
        return (blobs,) if self.path.resolve().parent.name == "snapshots" else ()

    def _portable(self) -> str:
        """A relative path as it was written; of an absolute one the last part, for the rest is one machine's affair."""
        path = Path(self.spec)
        return path.name if path.is_absolute() or self.spec.startswith("~") else path.as_posix()
