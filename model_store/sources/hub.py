"""A Hugging Face repository as a source: asked when a model is published, never when it is fetched."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from model_store.errors import SourceCorrupt, SourceError, SourceGated, SourceNotFound, SourceUnreachable
from model_store.manifest import Origin, check_path
from model_store.sources.base import Collected, allowed

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo


class HubSource:
    """A repository at a revision. HF_TOKEN, HF_ENDPOINT and HF_HOME are honoured by huggingface_hub."""

    def __init__(self, repo: str, revision: str = "main", allow: tuple[str, ...] = ()) -> None:
        self.repo, self.revision, self.allow = repo, revision, allow
        self.endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")

    def collect(self) -> Collected:
        """Download what is missing into the Hugging Face cache and check every size."""
        with self._explaining():
            info = self._info()
            if not info.sha:
                raise SourceNotFound(f"{self.endpoint} names no commit of {self.repo}.", "Check the repository.")
            siblings = {s.rfilename: s for s in info.siblings or () if allowed(s.rfilename, self.allow)}
            if not siblings:
                raise SourceNotFound(f"{self.repo} has no file that is wanted.", "Check `allow`.")
            files = {check_path(path): self._download(path, info.sha, s.size) for path, s in sorted(siblings.items())}
        promised = {path: s.lfs.sha256 for path, s in siblings.items() if s.lfs is not None}
        return Collected(Origin(url=f"hub:{self.repo}", commit=info.sha), files, promised, bool(info.gated))

    def commit(self) -> str:
        """The commit that the revision stands for now, asked from the hub."""
        with self._explaining():
            return self._info().sha or ""

    def _info(self) -> "ModelInfo":
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self.endpoint)
        return api.model_info(self.repo, revision=self.revision, files_metadata=True, timeout=30)

    def _download(self, path: str, commit: str, size: int | None) -> Path:
        """One file; a cached one of the wrong size (huggingface_hub believes it) is downloaded again."""
        file = self._get(path, commit, force=False)
        if size is not None and file.stat().st_size != size:
            file = self._get(path, commit, force=True)
        if size is not None and file.stat().st_size != size:
            raise SourceCorrupt(
                f"{path} of {self.repo} has {file.stat().st_size} bytes, the hub promises {size}.",
                "Try again; if it stays so, the hub or a proxy before it is at fault.",
                path=path,
            )
        return file

    def _get(self, path: str, commit: str, *, force: bool) -> Path:
        from huggingface_hub import hf_hub_download

        got = hf_hub_download(self.repo, path, revision=commit, endpoint=self.endpoint, force_download=force)
        return Path(got).resolve()

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Turn huggingface_hub's errors into ours, which tell the user what to do."""
        from huggingface_hub import errors as hub
        from requests import RequestException

        try:
            yield
        except hub.GatedRepoError:
            raise self._gated() from None
        except hub.RevisionNotFoundError:
            raise SourceNotFound(
                f"{self.repo} has no revision {self.revision} at {self.endpoint}.", "Check the revision."
            ) from None
        except hub.RepositoryNotFoundError:
            raise SourceNotFound(
                f"{self.repo} is not at {self.endpoint}, or is private.", "Check the name, or set HF_TOKEN."
            ) from None
        except hub.HFValidationError as error:
            raise SourceNotFound(
                f"{self.repo!r} is not a repository: {error}", "Write hub:owner/name@commit."
            ) from None
        except (RequestException, hub.OfflineModeIsEnabled, hub.LocalEntryNotFoundError) as error:
            raise self._unreachable(error) from error

    def _gated(self) -> SourceError:
        token = "HF_TOKEN is set but not allowed in" if os.environ.get("HF_TOKEN") else "HF_TOKEN is not set"
        return SourceGated(
            f"{self.repo} is gated: its conditions must be accepted first ({token}).",
            f"Open {self.endpoint}/{self.repo}, accept the conditions, make a token with read access and run again "
            "with HF_TOKEN=hf_…",
            repo=self.repo,
        )

    def _unreachable(self, error: Exception) -> SourceError:
        return SourceUnreachable(
            f"{self.repo} cannot be had from {self.endpoint}: {_reason(error)}.",
            "Check the network, HF_ENDPOINT and HF_HUB_OFFLINE. Without internet, bring the files here and publish "
            "them with --from directory:PATH, or copy a store that another machine published to.",
            repo=self.repo,
        )


def _reason(error: Exception) -> str:
    """The cause at the bottom; requests wraps it in the pool's own words."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return str(reason or error).rstrip(".")
