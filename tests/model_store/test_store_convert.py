"""Conversions: what comes out loads, the same each time, number for number where nothing is rounded."""

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from cli_helpers import run_cli
from store_helpers import content, write_model

import model_store.publishing.convert.recipes
from model_store import (
    ConversionFailed,
    DirectoryStore,
    ModelInfo,
    NodeCache,
    Published,
    SourceCorrupt,
    UsageError,
    fetch,
    publish,
)
from model_store.publishing.convert import Recipe, converted
from model_store.sources import DirectorySource, PinnedSource

DEMO = Path(__file__).parents[2] / "demo/models/whisper"
WHISPER = ModelInfo("whisper-ct2", "MIT", ("en",))


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Whisper of one layer with random weights and the demo model's tokenizer, as Transformers saves it."""
    import torch
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(0)
    words = json.loads((DEMO / "vocabulary.json").read_text())
    layers = {f"{side}_{what}": 1 for side in ("encoder", "decoder") for what in ("layers", "attention_heads")}
    sizes = {"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": len(words)}
    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"), 0)
    config = WhisperConfig(**layers, **sizes, **ends, suppress_tokens=[5, 6], begin_suppress_tokens=[7])
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(alignment_heads=[[0, 0]], lang_to_id={"<|en|>": 868})
    path = tmp_path_factory.mktemp("whisper")
    model.save_pretrained(path)
    for name in ("tokenizer.json", "preprocessor_config.json"):
        shutil.copyfile(DEMO / name, path / name)
    (path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    (path / "README.md").write_text("Ours.")
    return path


def source(path: Path, allow: tuple[str, ...] = ()) -> DirectorySource:
    return DirectorySource(str(path), path, allow)


@pytest.fixture(scope="module")
def publish_once(whisper: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Published, Path]]:
    """Converts to a compute type and publishes; returns what is published and the fetched directory."""
    root = tmp_path_factory.mktemp("converted")
    store, cache = DirectoryStore(root / "store"), NodeCache(root / "cache")

    @functools.cache
    def make(compute_type: str) -> tuple[Published, Path]:
        with converted(source(whisper), Recipe.of("whisper-ct2", compute_type)) as made:
            done = publish(made, f"tiny-{compute_type}", store, "v1", made.describe(WHISPER))
        return done, fetch(f"tiny-{compute_type}", store, cache).path

    return make


@pytest.mark.parametrize(
    "compute_type",
    ["int8", pytest.param("float16", marks=pytest.mark.slow), pytest.param("float32", marks=pytest.mark.slow)],
)
def test_whisper_loads_after_conversion(
    whisper: Path, publish_once: Callable[[str], tuple[Published, Path]], compute_type: str
) -> None:
    import numpy
    from ctranslate2.models import Whisper
    from faster_whisper import WhisperModel

    done, path = publish_once(compute_type)
    manifest = done.manifest
    assert (manifest.kind, manifest.compute_type, manifest.pickle) == ("whisper-ct2", compute_type, False)
    assert manifest.tools == {
        "recipe": f"whisper-ct2 {compute_type}",
        **{name: version(name) for name in ("ctranslate2", "transformers", "torch")},
    }
    assert manifest.source.url == f"directory:{whisper.name}"
    files = {entry.path: entry for entry in manifest.files}
    assert set(files) == {
        "config.json",
        "model.bin",
        "preprocessor_config.json",
        "tokenizer.json",
        "vocabulary.json",
    }
    assert manifest.memory_mb == -(-files["model.bin"].size // 1_000_000)
    config = json.loads((path / "config.json").read_text())
    assert (config["alignment_heads"], config["lang_ids"], config["suppress_ids"]) == ([[0, 0]], [868], [5, 6])
    assert Whisper(str(path), device="cpu").compute_type in (compute_type, "float32", "int8_float32")
    model = WhisperModel(str(path), device="cpu", compute_type="default", local_files_only=True)
    assert model.feat_kwargs["feature_size"] == 80
    segments, told = model.transcribe(numpy.zeros(16000, numpy.float32), language="en", beam_size=1, temperature=0)
    assert told.language == "en"
    assert all(segment.end <= 30 for segment in segments)


def test_weights_are_those_of_the_source(whisper: Path, publish_once: Callable[[str], tuple[Published, Path]]) -> None:
    """float32 keeps each number: the bytes of a matrix must stand in model.bin."""
    from safetensors.torch import load_file

    weights = (publish_once("float32")[1] / "model.bin").read_bytes()
    tensors = load_file(whisper / "model.safetensors")
    for name in (
        "model.encoder.conv1.weight",
        "model.decoder.layers.0.fc1.weight",
        "model.decoder.embed_tokens.weight",
    ):
        assert tensors[name].numpy().tobytes() in weights


def copied(path: Path, target: Path, without: str = "") -> Path:
    shutil.copytree(path, target, ignore=shutil.ignore_patterns(without))
    return target


def remove(name: str) -> Callable[[Path], None]:
    return lambda path: (path / name).unlink()


def write(name: str, raw: bytes) -> Callable[[Path], None]:
    return lambda path: (path / name).write_bytes(raw) and None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (remove("preprocessor_config.json"), "preprocessor_config.json is missing"),
        (remove("config.json"), "config.json is missing"),
        (remove("model.safetensors"), "there are no weights"),
        (write("config.json", b'{"model_type": "bert"}'), "config.json is not of a Whisper model"),
    ],
)
def test_what_cannot_be_converted(tmp_path: Path, whisper: Path, change: Callable[[Path], None], words: str) -> None:
    path = copied(whisper, tmp_path / "w")
    change(path)
    with (
        pytest.raises(ConversionFailed, match=words) as caught,
        converted(source(path), Recipe.of("whisper-ct2", "int8")),
    ):
        pass
    assert caught.value.details == {"recipe": "whisper-ct2 int8"}
    assert "Converting to whisper-ct2 int8 failed" in caught.value.problem


@pytest.mark.slow
def test_tokenizer_is_made_from_older_files(tmp_path: Path, whisper: Path) -> None:
    from tokenizers import Tokenizer
    from transformers import WhisperTokenizerFast

    path = copied(whisper, tmp_path / "w")
    older = WhisperTokenizerFast(tokenizer_file=str(path / "tokenizer.json"))
    (path / "tokenizer.json").unlink()
    older.save_pretrained(path, legacy_format=True)
    (path / "tokenizer.json").unlink(missing_ok=True)
    assert (path / "vocab.json").exists()
    with converted(source(path), Recipe.of("whisper-ct2", "int8")) as made:
        tokenizer = Tokenizer.from_file(str(made.collect().files["tokenizer.json"]))
    expected = Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    assert tokenizer.token_to_id("<|startoftranscript|>") == expected.token_to_id("<|startoftranscript|>")


def test_inputs_must_be_what_the_source_promises(whisper: Path) -> None:
    right = hashlib.sha256((whisper / "model.safetensors").read_bytes()).hexdigest()
    recipe = Recipe.of("safetensors")
    wrong = PinnedSource(source(whisper), {"model.safetensors": "0" * 64})
    with pytest.raises(SourceCorrupt, match=rf"model\.safetensors is damaged.*{right}"), converted(wrong, recipe):
        pass
    with pytest.raises(SourceCorrupt, match=r"has no other\.bin"):
        PinnedSource(source(whisper), {"other.bin": right}).collect()
    with converted(PinnedSource(source(whisper), {"model.safetensors": right}), recipe) as made:
        assert made.collect().sha256 == {"model.safetensors": right}


def test_missing_libraries_are_named(whisper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = {"whisper-ct2": ("ctranslate2", "no-such-library")}
    monkeypatch.setattr(model_store.publishing.convert.recipes, "LIBRARIES", libraries)
    with (
        pytest.raises(ConversionFailed, match=r"needs the Python package no-such-library.*pip install ctranslate2"),
        converted(source(whisper), Recipe("whisper-ct2", "int8")),
    ):
        pass


def test_recipes() -> None:
    assert str(Recipe.of("whisper-ct2", "int8_float16")) == "whisper-ct2 int8_float16"
    assert str(Recipe.of("safetensors", "float32")) == "safetensors"
    for to, compute_type, words in (
        ("gguf", "", "whisper-ct2, safetensors"),
        ("whisper-ct2", "", "none is given.*int8"),
        ("whisper-ct2", "int3", "'int3' is not one"),
    ):
        with pytest.raises(UsageError, match=words):
            Recipe.of(to, compute_type)


@pytest.fixture
def aligner(tmp_path: Path) -> Path:
    """Weights as old PyTorch checkpoints keep them: shared memory, odd strides, all kinds of numbers."""
    import torch

    path = write_model(tmp_path / "aligner", {"config.json": b"{}", "vocab.json": b"{}"})
    shared = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    tensors = {
        "a.weight": shared,
        "b.weight": shared,
        "part": shared[1:],
        "turned": shared.t(),
        "half": torch.tensor([1.5, float("nan"), -0.0], dtype=torch.float16),
        "brain": torch.tensor([3.0], dtype=torch.bfloat16),
        "count": torch.tensor(7, dtype=torch.int64),
        "mask": torch.tensor([True, False]),
        "none": torch.empty(0, 4),
    }
    torch.save(tensors, path / "pytorch_model.bin")
    return path


def test_safetensors_are_the_same_numbers(aligner: Path, store: DirectoryStore, cache: NodeCache) -> None:
    import torch
    from safetensors.torch import load_file

    info = ModelInfo("wav2vec2-ctc", "MIT", compute_type="float32", memory_mb=5)
    digests = []
    for _ in range(2):
        with converted(source(aligner), Recipe.of("safetensors")) as made:
            assert made.collect().files["model.safetensors"].stat().st_mode & 0o777 == 0o644
            done = publish(made, "align", store, "v1", made.describe(info))
            digests.append(done.digest)
    assert digests[0] == digests[1]
    manifest = done.manifest
    assert [entry.path for entry in manifest.files] == ["config.json", "model.safetensors", "vocab.json"]
    assert (manifest.pickle, manifest.kind, manifest.memory_mb) == (False, "wav2vec2-ctc", 5)
    assert manifest.tools["recipe"] == "safetensors"
    path = fetch("align", store, cache).path
    old, new = torch.load(aligner / "pytorch_model.bin"), load_file(path / "model.safetensors")
    assert old.keys() == new.keys()
    for name, tensor in old.items():
        assert (new[name].dtype, new[name].shape) == (tensor.dtype, tensor.shape)
        assert new[name].contiguous().flatten().view(torch.uint8).tolist() == (
            tensor.contiguous().flatten().view(torch.uint8).tolist()
        )


@pytest.mark.slow
def test_wav2vec2_loads_from_what_was_made(tmp_path: Path) -> None:
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": (8,), "conv_kernel": (10,), "conv_stride": (5,), "num_conv_pos_embeddings": 4}
    groups = {"num_conv_pos_embedding_groups": 2, "vocab_size": 8, "feat_extract_norm": "layer"}
    model = Wav2Vec2ForCTC(Wav2Vec2Config(**sizes, **convolutions, **groups)).eval()
    model.save_pretrained(tmp_path / "old", safe_serialization=False)
    with converted(source(tmp_path / "old"), Recipe.of("safetensors")) as made:
        for name, file in made.collect().files.items():
            (tmp_path / "new").mkdir(exist_ok=True)
            shutil.copyfile(file, tmp_path / "new" / name)
    again = Wav2Vec2ForCTC.from_pretrained(tmp_path / "new", use_safetensors=True).eval()
    heard = torch.linspace(-1, 1, 1600)[None]
    assert torch.equal(model(heard).logits, again(heard).logits)


def test_safetensors_that_are_there_are_kept(whisper: Path, tmp_path: Path) -> None:
    path = copied(whisper, tmp_path / "w")
    (path / "pytorch_model.bin").write_bytes(b"whatever code")
    with converted(source(path), Recipe.of("safetensors")) as made:
        files = made.collect().files
        assert "pytorch_model.bin" not in files
        assert files["model.safetensors"] == path / "model.safetensors"


class Code:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def test_code_in_a_pickle_is_refused_not_run(tmp_path: Path) -> None:
    import torch

    path = write_model(tmp_path / "evil", {"config.json": b"{}"})
    torch.save({"a": Code(tmp_path / "ran")}, path / "pytorch_model.bin")
    with (
        pytest.raises(ConversionFailed, match="Weights only load failed"),
        converted(source(path), Recipe.of("safetensors")),
    ):
        pass
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config.json": b"{}"}, "there is no pytorch_model.bin"),
        ({"pytorch_model-00001-of-00002.bin": b"x"}, "in several files"),
    ],
)
def test_what_safetensors_cannot_be_made_of(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    path = write_model(tmp_path / "m", files)
    with pytest.raises(ConversionFailed, match=words), converted(source(path), Recipe.of("safetensors")):
        pass


@pytest.mark.slow
def test_other_things_than_tensors(tmp_path: Path) -> None:
    import torch

    path = write_model(tmp_path / "m", {"config.json": b"{}"})
    torch.save({"epoch": 3}, path / "pytorch_model.bin")
    with (
        pytest.raises(ConversionFailed, match=r"pytorch_model\.bin holds other things than tensors"),
        converted(source(path), Recipe.of("safetensors")),
    ):
        pass


def test_torch_never_enters_the_publishing_process(aligner: Path, store: DirectoryStore) -> None:
    code = (
        "import sys\n"
        "sys.argv = ['model-store', 'publish', 'align', '--from', sys.argv[1], '--kind', 'wav2vec2-ctc', '--convert',\n"
        "            'safetensors', '--store', sys.argv[2]]\n"
        "from model_store.cli import main\n"
        "main_exit = None\n"
        "try: main()\n"
        "except SystemExit as done: main_exit = done.code\n"
        "loaded = {'torch', 'transformers', 'ctranslate2', 'numpy'} & set(sys.modules)\n"
        "assert (main_exit, loaded) == (0, set()), (main_exit, loaded)\n"
    )
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", code, f"directory:{aligner}", str(store.root)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [ref.name for ref in store.list_refs()] == ["align", "align"]


CATALOG = """
models:
  tiny:
    kind: whisper-ct2
    source: "directory:whisper"
    licence: MIT
    convert: {to: whisper-ct2, compute_type: int8}
"""


@pytest.mark.slow
def test_command_line_converts_to_the_same_bytes(
    tmp_path: Path,
    whisper: Path,
    store: DirectoryStore,
    publish_once: Callable[[str], tuple[Published, Path]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copied(whisper, tmp_path / "whisper")
    write_model(tmp_path / "configs", {"models.yaml": CATALOG.encode()})
    monkeypatch.chdir(tmp_path)
    to = ("--store", store.root)
    listed = run_cli("publish", "tiny", *to, "--json").json()[0]
    one, first = store.read_manifest(listed["digest"]), publish_once("int8")[0].manifest
    assert one.files == first.files
    assert (one.kind, one.compute_type, one.memory_mb, one.tools) == ("whisper-ct2", "int8", 1, first.tools)
    line = ("publish", "other", "--from", "directory:whisper", *to, "--convert")
    assert run_cli(*line, "safetensors").code == 2
    assert run_cli(*line, "safetensors", "--kind", "whisper", "--licence", "MIT").code == 0
    other = store.read_manifest(store.read_ref("other", "v1") or "")
    assert (other.kind, other.licence, other.tools["recipe"]) == ("whisper", "MIT", "safetensors")
    assert {"model.safetensors", "README.md"} < {entry.path for entry in other.files}
    assert run_cli(*line, "whisper-ct2").code == 2
    assert run_cli("publish", "tiny", "--convert", "safetensors", *to).code == 2
    assert run_cli("publish", "tiny", "--allow", "*.json", *to).code == 2
    few = run_cli(*line, "whisper-ct2", "--compute-type", "int8", "--allow", "*.json")
    assert (few.code, "no weights" in few.err, "--allow" in few.err) == (4, True, True)
    assert content(tmp_path / "whisper") == content(whisper)
