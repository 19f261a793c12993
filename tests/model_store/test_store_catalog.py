"""The catalog: ours is right, and a wrong one says where."""

import hashlib
import re
from pathlib import Path

import pytest
from store_helpers import FILES, CountingStore, write_model

from model_store import Catalog, CatalogError, SourceCorrupt, publish
from model_store.publishing.convert import Recipe
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
        (one(more=", convert: {to: whisper-ct2}"), r"models\.a\.convert: .*compute_type goes with `to: whisper-ct2`"),
        (one(more=", convert: {to: safetensors, compute_type: int8}"), "compute_type goes with"),
        (one(more=", convert: {to: gguf}"), r"models\.a\.convert\.to: .*whisper-ct2"),
        (one(more=", convert: {to: whisper-ct2, compute_type: int3}"), r"models\.a\.convert\.compute_type"),
        (one(more=", convert: {to: whisper-ct2, computetype: int8}"), "Did you mean compute_type"),
        (one(more=", compute_type: float16, convert: {to: whisper-ct2, compute_type: int8}"), "float16, but it is"),
        (
            one(more=", convert: {to: whisper-ct2, compute_type: int8}").replace("whisper-ct2", "wav2vec2-ctc", 1),
            "cannot be a wav2vec2-ctc",
        ),
        (one(more=", pickel: true"), "Did you mean pickle"),
        (one(more=", sha256: {model.bin: abc}"), r"models\.a\.sha256\.model\.bin"),
        (one(more=f", sha256: {{../x: {'0' * 64}}}"), "'../x' is not a safe path"),
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


def test_pickles_of_our_catalog_are_allowed_by_name() -> None:
    catalog = Catalog.load(OURS)
    assert [name for name, entry in catalog.entries.items() if entry.pickle] == [
        "demo-diarization",
        "diarization-community-1",
    ]
    recipes = {name: entry.recipe for name, entry in catalog.entries.items() if entry.recipe}
    int8 = Recipe("whisper-ct2", "int8")
    assert recipes == {
        "whisper-small-int8": int8,
        "whisper-medium-int8": int8,
        "align-en-large": Recipe("safetensors"),
    }


def test_another_packages_kind_is_told_by_its_slash(tmp_path: Path) -> None:
    text = one().replace("whisper-ct2", "loudness/rms")
    assert Catalog.load(write(tmp_path, text)).entries["a"].kind == "loudness/rms"


def test_conversion_takes_the_files_that_it_reads(tmp_path: Path) -> None:
    text = one(more=", convert: {to: whisper-ct2, compute_type: int8}")
    write_model(tmp_path / "x", {"model.safetensors": b"1", "model.fp32.safetensors": b"2", "flax_model.msgpack": b"3"})
    catalog = Catalog.load(write(tmp_path, text))
    assert catalog.entries["a"].recipe == Recipe("whisper-ct2", "int8")
    assert list(catalog.source("a").collect().files) == ["model.safetensors"]
    chosen = Catalog.load(write(tmp_path, text.replace("licence", "allow: ['*.msgpack'], licence")))
    assert list(chosen.source("a").collect().files) == ["flax_model.msgpack"]


def test_hashes_of_the_catalog_count(tmp_path: Path, store: CountingStore) -> None:
    write_model(tmp_path / "x")
    right = hashlib.sha256(FILES["model.bin"]).hexdigest()

    def publish_with(sha256: str) -> None:
        catalog = Catalog.load(write(tmp_path, one(more=f", sha256: {{model.bin: {sha256}}}")))
        publish(catalog.source("a"), "a", store, "v1", catalog.entries["a"].info())

    with pytest.raises(SourceCorrupt, match=right):
        publish_with("f" * 64)
    publish_with(right)
    assert [ref.name for ref in store.list_refs()] == ["a", "a"]
