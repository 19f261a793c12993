"""The catalog: ours is right, and a wrong one says where."""

import re
from pathlib import Path

import pytest
from store_helpers import FILES, CountingStore, write_model

from model_store import Catalog, CatalogError, publish
from model_store.sources import DirectorySource, HubSource

OURS = Path(__file__).parents[2] / "configs" / "models.yaml"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "configs" / "models.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_our_catalog_is_complete_and_pinned() -> None:
    catalog = Catalog.load(OURS)
    assert catalog.select("demo-*") == ["demo-whisper", "demo-align", "demo-diarization"]
    for name, entry in catalog.entries.items():
        source = catalog.source(name)
        assert entry.licence
        assert entry.memory_mb > 0
        if isinstance(source, HubSource):
            assert re.fullmatch(r"[0-9a-f]{40}", source.revision), name
            assert entry.tag == source.revision
        else:
            assert isinstance(source, DirectorySource)
            assert source.path == OURS.parents[1] / "demo/models" / name.removeprefix("demo-")
    gated = [name for name, entry in catalog.entries.items() if entry.gated]
    assert gated == ["diarization-community-1"]


def test_aligners_carry_their_sentence_tables() -> None:
    catalog = Catalog.load(OURS)
    for name in catalog.select("align-*"):
        assert [extra.at for extra in catalog.extra(name)] == ["nltk_data"]


def test_entry_is_published_with_its_extra(tmp_path: Path, store: CountingStore) -> None:
    write_model(tmp_path / "models/a")
    write_model(tmp_path / "punkt", {"x.tab": b"x", "y.pickle": b"y"})
    text = (
        "models: {a: {kind: wav2vec2-ctc, source: 'directory:models/a', licence: MIT, tools: {transformers: '4.48'}, "
        "extra: [{source: 'directory:punkt', at: nltk, allow: ['*.tab']}]}}"
    )
    catalog = Catalog.load(write(tmp_path, text))
    entry = catalog.entries["a"]
    done = publish(catalog.source("a"), "a", store, entry.tag, entry.info(), extra=catalog.extra("a"))
    assert {file.path for file in done.manifest.files} == {*FILES, "nltk/x.tab"}
    assert (done.manifest.revision, done.manifest.tools) == ("v1", {"transformers": "4.48"})
    assert (done.manifest.source.url, done.manifest.extra[0].url) == ("directory:models/a", "directory:punkt")


def one(name: str = "a", more: str = "") -> str:
    """A catalog of one model."""
    return f"models: {{{name}: {{kind: whisper-ct2, source: 'directory:x', licence: MIT{more}}}}}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (one(more=", langages: [en]"), r"models\.a\.langages: unknown key\. Did you mean languages\?"),
        ("model: {}", "models: Field required"),
        (one(more=", extra: [{sorce: x, at: y}]"), r"extra\.0\."),
        ("models: {a: {source: x, licence: MIT}}", r"models\.a\.kind: Field required"),
        ("models: {a: {kind: wisper, source: x, licence: MIT}}", "whisper-ct2"),
        (one(more=", memory_mb: much"), r"models\.a\.memory_mb"),
        (one("a b"), "'a b' is not a model name"),
        (one(more=", revision: ../x"), "'../x' is not a tag"),
        (one(more=", extra: [{source: x, at: ../y}]"), "'../y' is not a safe path"),
        ("models: [", "not YAML"),
        ("", "dictionary"),
    ],
)
def test_wrong_catalogs_say_where(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(CatalogError, match=words):
        Catalog.load(write(tmp_path, text))


def test_extra_keys_are_helped_too(tmp_path: Path) -> None:
    text = one(more=", extra: [{source: x, at: y, alow: []}]")
    with pytest.raises(CatalogError, match=r"extra\.0\.alow: unknown key\. Did you mean allow\?"):
        Catalog.load(write(tmp_path, text))


def test_unknown_names_and_files_are_named(tmp_path: Path) -> None:
    catalog = Catalog.load(write(tmp_path, one("demo-whisper")))
    with pytest.raises(CatalogError, match="Did you mean demo-whisper"):
        catalog.select("demo-wisper")
    with pytest.raises(CatalogError, match=r"nowhere\.yaml cannot be read"):
        Catalog.load(tmp_path / "nowhere.yaml")
