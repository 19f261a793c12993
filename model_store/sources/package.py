"""Files of an installed Python distribution as a source."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from model_store.errors import SourceNotFound
from model_store.manifest import Origin, check_path
from model_store.sources.base import Collected, allowed


class PackageSource:
    """The files that a distribution installed below `path`."""

    def __init__(self, name: str, path: str, allow: tuple[str, ...] = ()) -> None:
        self.name, self.path, self.allow = name, path.strip("/"), allow

    def collect(self) -> Collected:
        """List the files; raises SourceNotFound if the distribution or the path is not there."""
        try:
            found = distribution(self.name)
        except PackageNotFoundError:
            raise SourceNotFound(
                f"The Python package {self.name} is not installed here.", f"Install it: pip install {self.name}"
            ) from None
        files = {}
        for file in found.files or ():
            relative = self._relative(file.as_posix())
            if relative and not relative.endswith(".pyc") and allowed(relative, self.allow):
                files[check_path(relative)] = Path(str(file.locate())).resolve()
        if not files:
            raise SourceNotFound(
                f"{self.name} {found.version} installs nothing below {self.path!r}.", "Check the path."
            )
        url = f"package:{self.name}/{self.path}" if self.path else f"package:{self.name}"
        return Collected(Origin(url=url, commit=found.version), files)

    def _relative(self, path: str) -> str:
        if not self.path:
            return path
        return path.removeprefix(f"{self.path}/") if path.startswith(f"{self.path}/") else ""
