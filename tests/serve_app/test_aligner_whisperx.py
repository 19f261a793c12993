"""What stands in the place of parts of whisperx gives the same as those parts; and which models can be loaded."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from whisperx import alignment as theirs

from serve_app.models import align_whisperx as ours
from serve_app.models.align_emissions import Emissions, receptive_field
from serve_app.models.align_sentences import sentence_splitter
from serve_app.options import AlignOptions

ROOT = Path(__file__).parents[2]
CASES = [(120, 20), (40, 39), (40, 40), (40, 41), (12, 30), (3, 1), (1, 1), (1, 5)]


@pytest.mark.parametrize(("frames", "count"), CASES)
@pytest.mark.parametrize("sharpness", [0.1, 1, 8])
def test_trellis_and_path_are_theirs(frames: int, count: int, sharpness: float) -> None:
    torch.manual_seed(frames * 100 + count)
    emission = torch.log_softmax(sharpness * torch.randn(frames, 32), dim=-1)
    tokens = torch.randint(0, 32, (count,)).tolist()
    trellis, their_trellis = ours.get_trellis(emission, tokens, 0), theirs.get_trellis(emission, tokens, 0)
    torch.testing.assert_close(trellis, their_trellis, rtol=0, atol=0, equal_nan=True)
    path, their_path = (
        ours.backtrack(trellis, emission, tokens, 0),
        theirs.backtrack(their_trellis, emission, tokens, 0),
    )
    assert (path is None) == (their_path is None)
    for point, their_point in zip(path or [], their_path or [], strict=True):
        assert (point.token_index, point.time_index) == (their_point.token_index, their_point.time_index)
        assert point.score == pytest.approx(their_point.score, abs=1e-6)


def test_whisperx_itself_stays_as_it_is(demo_models: Path) -> None:
    before = dict(vars(theirs))
    place = ours.WhisperxAlign("en", {"<pad>": 0, "|": 1, "a": 2}, sentence_splitter(demo_models / "align", "en"))
    rows = place("a a", 3200, torch.randn(10, 3), AlignOptions())
    assert [word["word"] for row in rows for word in row["words"]] == ["a", "a"]
    assert dict(vars(theirs)) == before


def test_another_version_of_whisperx_is_noticed() -> None:
    with pytest.raises(AttributeError, match=r"align does not use \['nltk_fetch'\]"):
        ours.rebound(theirs.align, nltk_fetch=None)


def test_what_was_said_is_not_written_to_the_log(caplog: pytest.LogCaptureFixture, demo_models: Path) -> None:
    place = ours.WhisperxAlign("en", {"<pad>": 0, "|": 1, "a": 2}, sentence_splitter(demo_models / "align", "en"))
    (row,) = place("a secret", 3200, torch.randn(2, 3), AlignOptions())
    assert row["words"] == []
    assert caplog.records == []


def test_a_snapshot_of_torchaudio_is_loaded_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle's own code with its own file name; only its sizes are made small."""
    from torchaudio.models import wav2vec2_model
    from torchaudio.pipelines import WAV2VEC2_ASR_BASE_960H as BUNDLE

    small = {"encoder_embed_dim": 48, "encoder_num_layers": 1, "encoder_num_heads": 2, "encoder_ff_interm_features": 8}
    monkeypatch.setattr(BUNDLE, "_params", BUNDLE._params | small)
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("wants the network"))
    as_published = BUNDLE._params | {"aux_num_out": 32}  # with three labels that the bundle takes out
    torch.save(wav2vec2_model(**as_published).state_dict(), tmp_path / BUNDLE._path)
    model, metadata = ours.load_model(tmp_path, "en", "cpu")
    assert metadata["type"] == "torchaudio"
    assert metadata["dictionary"]["e"] == 2
    assert receptive_field(model) == 400
    (heard,) = Emissions(model, metadata["type"], "cpu", 1)([torch.randn(16_000).numpy()])
    assert heard.shape == (49, 29)


def test_what_is_no_aligner_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="could not be found"):
        ours.load_model(tmp_path, "en", "cpu")


def test_what_the_import_leaves_out_is_there_when_it_is_needed() -> None:
    code = (
        "import sys; from serve_app.models.aligner import UNUSED\n"
        "from serve_app.models.environment import import_without\n"
        "import_without('whisperx.alignment', UNUSED)\n"
        "assert not {*UNUSED} & {*sys.modules}\n"
        "import pandas; from whisperx.utils import interpolate_nans\n"
        "print(interpolate_nans(pandas.Series([1, None, None, 4]), 'nearest').tolist())  # pandas asks scipy"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=True)
    assert shown.stdout.strip() == "[1.0, 1.0, 4.0, 4.0]"


def test_light_modules_import_no_model_library() -> None:
    heavy = {"ray", "torch", "whisperx", "transformers", "nltk", "pandas"}
    code = (
        "import sys; import serve_app.alignment, serve_app.aligners, serve_app.models.aligner\n"
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    shown: Any = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=True)
    assert shown.stdout.strip() == "[]"
