"""The catalog, `configs/models.yaml`: which models there are and where they come from."""

from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from model_store.errors import CatalogError, ModelStoreError
from model_store.manifest import Digest, check_path
from model_store.publishing.convert.recipes import ComputeType, Recipe, To
from model_store.publishing.publish import Extra, ModelInfo
from model_store.references import check_name, check_tag
from model_store.sources import PinnedSource, Source, parse_source

DEFAULT_CATALOG = Path("configs/models.yaml")
OwnKind = Literal["whisper-ct2", "whisper-transformers", "whisper-ggml", "wav2vec2-ctc", "pyannote-pipeline"]
Kind = OwnKind | Annotated[str, Field(pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")]
"""Ours, or another package's as `package/kind`."""


class _Strict(BaseModel):
    """Values that do not change and take no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ExtraEntry(_Strict):
    """A further source that is merged into the snapshot below `at`."""

    source: str
    at: Annotated[str, AfterValidator(check_path)]
    allow: tuple[str, ...] = ()


class ConvertEntry(_Strict):
    """What a source's files are converted to before they are published."""

    to: To
    compute_type: ComputeType | Literal[""] = ""

    @model_validator(mode="after")
    def _only_whisper_is_quantized(self) -> "ConvertEntry":
        if (self.to == "whisper-ct2") != bool(self.compute_type):
            raise ValueError("compute_type goes with `to: whisper-ct2`, always and only")
        return self


class Entry(_Strict):
    """One model of the catalog.

    allow: glob patterns of the files to take (default: all, or those that the conversion reads).
    pickle: files that are unpickled when they are loaded may be among them.
    sha256: hashes that files of the source must have, by path.
    """

    kind: Kind
    source: str
    revision: Annotated[str, AfterValidator(check_tag)] | None = None
    licence: str
    languages: tuple[str, ...] = ()
    compute_type: str = ""
    memory_mb: Annotated[int, Field(ge=0)] = 0
    gated: bool = False
    pickle: bool = False
    convert: ConvertEntry | None = None
    allow: tuple[str, ...] = ()
    sha256: dict[Annotated[str, AfterValidator(check_path)], Digest] = {}
    extra: tuple[ExtraEntry, ...] = ()
    tools: dict[str, str] = {}

    @model_validator(mode="after")
    def _conversion_fits(self) -> "Entry":
        made = self.convert.compute_type if self.convert else ""
        if made and self.kind != "whisper-ct2":
            raise ValueError(f"a conversion to whisper-ct2 cannot be a {self.kind}")
        if made and self.compute_type not in ("", made):
            raise ValueError(f"compute_type is {self.compute_type}, but it is converted to {made}")
        return self

    @property
    def recipe(self) -> Recipe | None:
        """The conversion, if there is one."""
        return Recipe(self.convert.to, self.convert.compute_type) if self.convert else None

    @property
    def tag(self) -> str:
        """The revision to publish as: what is said, else the hub's, else v1."""
        _, _, pinned = self.source.partition("@")
        return self.revision or (pinned if self.source.startswith("hub:") and pinned else "v1")

    def info(self) -> ModelInfo:
        """What the manifest says of the model."""
        return ModelInfo(
            self.kind, self.licence, self.languages, self.compute_type, self.memory_mb, self.gated, self.tools
        )


class _Document(_Strict):
    models: dict[Annotated[str, AfterValidator(check_name)], Entry]


class Catalog:
    """The entries of a catalog file; its directory sources are relative to the parent of the file's directory."""

    def __init__(self, entries: dict[str, Entry], base: Path, path: Path) -> None:
        self.entries, self.base, self.path = entries, base, path

    @classmethod
    def load(cls, path: Path) -> "Catalog":
        """Read a catalog strictly; raises CatalogError that names the place and the nearest right key."""
        try:
            document = yaml.safe_load(path.read_text("utf-8"))
        except OSError as error:
            raise CatalogError(f"The catalog {path} cannot be read: {error.strerror}.", "Give --catalog.") from None
        except yaml.YAMLError as error:
            raise CatalogError(f"The catalog {path} is not YAML: {error}", "Mend the file.") from None
        try:
            entries = _Document.model_validate(document).models
        except ValidationError as error:
            raise _explain(path, error) from None
        except ModelStoreError as error:
            raise CatalogError(f"{path}: {error.problem}", error.mend) from None
        return cls(entries, path.resolve().parent.parent, path)

    def select(self, pattern: str) -> list[str]:
        """The names that a name or a glob pattern means; raises CatalogError if none."""
        names = [name for name in self.entries if fnmatchcase(name, pattern)]
        if not names:
            raise CatalogError(f"{self.path} has no model {pattern!r}.{_nearest(pattern, list(self.entries))}", "")
        return names

    def source(self, name: str) -> Source:
        """Where a model comes from."""
        entry = self.entries[name]
        allow = entry.allow or (entry.recipe.allow if entry.recipe else ())
        source = parse_source(entry.source, self.base, allow)
        return PinnedSource(source, entry.sha256) if entry.sha256 else source

    def extra(self, name: str) -> tuple[Extra, ...]:
        """A model's further sources."""
        return tuple(
            Extra(parse_source(part.source, self.base, part.allow), part.at) for part in self.entries[name].extra
        )


def _explain(path: Path, error: ValidationError) -> CatalogError:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return CatalogError(f"{path}: {place}: {first['msg']}.", "Mend the file.")
    right = _keys_beside(first["loc"])
    return CatalogError(
        f"{path}: {place}: unknown key.{_nearest(str(first['loc'][-1]), right)}", f"Keys are: {', '.join(right)}."
    )


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """The keys that are right where an unknown one was found."""
    if len(location) == 1:
        return list(_Document.model_fields)
    inner: dict[int | str, type[_Strict]] = {"extra": ExtraEntry, "convert": ConvertEntry}
    found = [inner[key] for key in location[2:-1] if key in inner]
    return list((found or [Entry])[0].model_fields)


def _nearest(word: str, words: list[str]) -> str:
    nearest = get_close_matches(word, words, n=1, cutoff=0.5)
    return f" Did you mean {nearest[0]}?" if nearest else f" It has: {', '.join(words)}."
