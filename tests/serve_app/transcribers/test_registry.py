"""Back ends by name: ours, another package's, and what is said of names and snapshots that do not fit."""

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from serve_app.config import TranscriptionArgs
from serve_app.errors import LibraryLoadError, UnknownBackend, WrongSnapshot
from serve_app.models.transcribers import registry


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(site: Path, points: str, code: str = "") -> None:
    about = site / "theirs-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[rayscribe.transcribers]\n{points}\n")
    (site / "theirs_module.py").write_text(code)
    sys.modules.pop("theirs_module", None)


def test_ours_are_there_and_the_default_is_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAYSCRIBE_BACKEND", raising=False)
    assert set(registry.names()) >= {"faster-whisper", "transformers", "whisper-cpp"}
    assert TranscriptionArgs(model="m").backend == "faster-whisper"
    assert registry.backend("faster-whisper").kinds == ("whisper-ct2",)


def test_the_environment_names_the_back_end_that_the_config_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSCRIBE_BACKEND", "transformers")
    assert TranscriptionArgs(model="m").backend == "transformers"
    assert TranscriptionArgs(model="m", backend="faster-whisper").backend == "faster-whisper"


def test_an_unknown_name_is_told_what_there_is_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownBackend, match="named 'zzz'; known are: faster-whisper, transformers, whisper-cpp; "):
        registry.check_name("zzz")
    with pytest.raises(ValidationError, match="named 'wisper-cpp'; did you mean 'whisper-cpp'"):
        TranscriptionArgs(model="m", backend="wisper-cpp")
    monkeypatch.setenv("RAYSCRIBE_BACKEND", "fasterwhisper")
    with pytest.raises(ValidationError, match="did you mean 'faster-whisper'"):
        TranscriptionArgs(model="m")


def test_a_compute_type_that_the_back_end_lacks_is_refused_with_those_it_has() -> None:
    with pytest.raises(ValidationError, match="transformers has no compute_type 'int8', only: auto, bfloat16, default"):
        TranscriptionArgs(model="m", backend="transformers", compute_type="int8")
    with pytest.raises(ValidationError, match="whisper-cpp has no compute_type 'float32', only: auto, default"):
        TranscriptionArgs(model="m", backend="whisper-cpp", compute_type="float32")


@pytest.mark.parametrize(
    ("name", "kind", "mend"),
    [
        ("faster-whisper", "whisper-ggml", "needs a whisper-ct2; publish one, or set backend: whisper-cpp"),
        ("whisper-cpp", "whisper-transformers", "needs a whisper-ggml; publish one, or set backend: transformers"),
        ("transformers", "pyannote-pipeline", "needs a whisper-transformers; publish one$"),
    ],
)
def test_a_snapshot_of_another_kind_names_the_mend(name: str, kind: str, mend: str) -> None:
    with pytest.raises(WrongSnapshot, match=f"'m' is a {kind}: backend {name} {mend}"):
        registry.check_kind(name, kind, "m")


def test_another_package_adds_a_back_end_but_takes_no_name_of_ours(site: Path) -> None:
    code = "class Theirs:\n    kinds, compute_types, libraries = ('theirs',), frozenset(), ()\n"
    install(site, "theirs = theirs_module:Theirs\nwhisper-cpp = theirs_module:Theirs", code)
    assert "theirs" in registry.names()
    assert registry.backend("theirs").kinds == ("theirs",)
    assert registry.backend("whisper-cpp").kinds == ("whisper-ggml",)
    assert TranscriptionArgs(model="m", backend="theirs", compute_type="int8").backend == "theirs"


def test_a_package_that_cannot_be_imported_is_an_error_of_its_own(site: Path) -> None:
    install(site, "theirs = theirs_module:Theirs", "import no_such_library")
    with pytest.raises(LibraryLoadError, match=r"'theirs' \(theirs_module:Theirs\) cannot be imported: No module"):
        registry.backend("theirs")
    with pytest.raises(ValidationError, match="cannot be imported"):
        TranscriptionArgs(model="m", backend="theirs")
