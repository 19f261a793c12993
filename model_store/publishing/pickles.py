"""Pickles: files that run whatever code they hold when they are loaded, so they need somebody's word."""

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from model_store.errors import NotTrusted
from model_store.sources.base import Collected, Source

NAMES = ("*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "pytorch_model*.bin")
STARTS = (b"PK\x03\x04", b"\x80")
DANGER = (
    "Loading a pickle runs whatever code is in it, as the user who loads it. Allow it only if you trust who made it"
)


def named_like_pickle(path: str) -> bool:
    """Whether the loaders of PyTorch would unpickle a file of this name."""
    return any(fnmatch(PurePosixPath(path).name.lower(), pattern) for pattern in NAMES)


def is_pickle(file: Path, path: str) -> bool:
    """Whether this file, named `path` in the snapshot, would be unpickled when it is loaded.

    CTranslate2 names its weights `model.bin` too, so the first bytes decide.
    """
    if not named_like_pickle(path) and PurePosixPath(path).suffix.lower() != ".bin":
        return False
    with file.open("rb") as opened:
        head = opened.read(4)
    # The oldest protocols have no mark of their own, but each of their instructions is a printable character.
    old = head[:1].isascii() and head[:1].decode().isprintable() and named_like_pickle(path)
    return head.startswith(STARTS) or (old and head != b"")


@dataclass(frozen=True)
class WithoutPickles:
    """A source that refuses to give pickles; wrap what nobody vouches for."""

    source: Source
    name: str

    def collect(self) -> Collected:
        """What the source gives; raises NotTrusted if a pickle is among it."""
        collected = self.source.collect()
        pickles = [path for path, file in collected.files.items() if is_pickle(file, path)]
        if pickles:
            raise NotTrusted(
                f"{self.name} from {collected.origin.url} holds pickles: {', '.join(pickles)}. {DANGER}.",
                "Publish with --allow-pickle, or say `pickle: true` in the catalog; wav2vec2 models can do without: "
                "--convert safetensors.",
                model=self.name,
                pickles=pickles,
            )
        return collected
