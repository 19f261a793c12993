"""What stages need of a GPU, against the figures it is derived from, and what is said when a share is too small."""

from dataclasses import replace

import pytest

from model_store.publishing.catalog import Catalog
from serve_app.config import AlignmentArgs, DiarizationArgs, TranscriptionArgs
from serve_app.memory_need import Need, need_of, what_fits

MODELS = """\
models:
  large: {kind: whisper-ct2, source: "directory:a", licence: MIT, compute_type: float16, memory_mb: 3088}
  small: {kind: whisper-ct2, source: "directory:a", licence: MIT, compute_type: float16, memory_mb: 484}
  unweighed: {kind: whisper-ct2, source: "directory:a", licence: MIT, compute_type: float16}
  base-en: {kind: wav2vec2-ctc, source: "directory:a", licence: MIT, compute_type: float32, memory_mb: 378}
  large-q5: {kind: whisper-ggml, source: "directory:a", licence: MIT, compute_type: q5_0, memory_mb: 1081}
  large-de: {kind: wav2vec2-ctc, source: "directory:a", licence: MIT, compute_type: float32, memory_mb: 1262}
  voices: {kind: pyannote-pipeline, source: "directory:a", licence: MIT, compute_type: float32, memory_mb: 34}
"""


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    path = tmp_path_factory.mktemp("configs") / "models.yaml"
    path.write_text(MODELS)
    return Catalog.load(path)


def whisper(model: str = "large", **options: object) -> TranscriptionArgs:
    return TranscriptionArgs.model_validate({"model": model, "compute_type": "float16", "batch_size": 8, **options})


def gb(args: TranscriptionArgs | AlignmentArgs | DiarizationArgs, catalog: Catalog) -> float:
    need = need_of(args, catalog)
    assert need is not None
    return need.total


def alone(args: TranscriptionArgs, catalog: Catalog) -> float:
    need = need_of(args, catalog)
    assert need is not None
    return replace(need, second=None).total


@pytest.mark.parametrize(("batch", "measured_gb"), [(1, 4.5), (8, 6.1)])
def test_large_whisper_needs_what_was_measured_of_it(catalog: Catalog, batch: int, measured_gb: float) -> None:
    assert alone(whisper(batch_size=batch), catalog) == pytest.approx(measured_gb, abs=0.1)


@pytest.mark.parametrize(("backend", "measured_gb"), [("transformers", 4.96), ("whisper-cpp", 4.13)])
def test_so_does_it_by_the_other_back_ends(catalog: Catalog, backend: str, measured_gb: float) -> None:
    args = whisper(batch_size=1, backend=backend, compute_type="default")
    assert alone(args, catalog) == pytest.approx(measured_gb, abs=0.1)


@pytest.mark.parametrize(
    ("device", "batch", "windows"), [("cuda", 16, 20), ("cuda", 1, 2), ("auto", 16, 20), ("cpu", 16, 32)]
)
def test_a_second_batch_has_its_own_work_and_on_a_gpu_a_quarter_of_the_windows(
    catalog: Catalog, device: str, batch: int, windows: int
) -> None:
    args = whisper(batch_size=batch, device=device, compute_type="default")
    assert gb(args, catalog) == pytest.approx(0.5 + 3.088 + 2 * 0.7 + windows * 0.22)


def test_transformers_decodes_two_batches_and_whisper_cpp_one(catalog: Catalog) -> None:
    two, one = (whisper(backend=backend, compute_type="default") for backend in ("transformers", "whisper-cpp"))
    assert gb(two, catalog) == pytest.approx(0.5 + 3.088 + (8 + 2) * 1.4)
    assert gb(one, catalog) == alone(one, catalog)


def test_a_diarizer_hears_two_blocks_at_once_on_a_cpu_only(catalog: Catalog) -> None:
    on_cpu, on_gpu = (DiarizationArgs(model="voices", batch_size=8, device=device) for device in ("cpu", "cuda"))
    assert gb(on_cpu, catalog) == pytest.approx(0.5 + 0.034 + 2 * 8 * 0.06)
    assert gb(on_gpu, catalog) == pytest.approx(0.5 + 0.034 + 8 * 0.41)


def test_whisper_cpp_decodes_one_window_whatever_is_asked(catalog: Catalog) -> None:
    one, many = (whisper(batch_size=size, backend="whisper-cpp", compute_type="default") for size in (1, 16))
    assert gb(one, catalog) == gb(many, catalog)


def test_a_quantised_file_is_small_but_its_model_is_not(catalog: Catalog) -> None:
    whole, small = (whisper(model, backend="whisper-cpp", compute_type="default") for model in ("large", "large-q5"))
    needs = [need for args in (whole, small) if (need := need_of(args, catalog))]
    assert [round(need.weights, 1) for need in needs] == [3.1, 1.1]
    assert needs[0].window == pytest.approx(needs[1].window, rel=0.02)


def test_nobody_knows_another_packages_back_end(catalog: Catalog) -> None:
    args = whisper().model_copy(update={"backend": "loudness"})
    assert need_of(args, catalog) is None


def test_weights_follow_the_compute_type(catalog: Catalog) -> None:
    weights = {
        kind: need.weights
        for kind in ("default", "int8_float16", "float16", "float32")
        if (need := need_of(whisper(compute_type=kind), catalog))
    }
    assert weights == pytest.approx({"default": 3.088, "int8_float16": 1.544, "float16": 3.088, "float32": 6.176})


def test_activations_are_wider_in_float32_though_weights_are_narrower(catalog: Catalog) -> None:
    narrow, wide = (need_of(whisper(compute_type=kind), catalog) for kind in ("int8_float16", "int8"))
    assert narrow
    assert wide
    assert (wide.weights, wide.window) == pytest.approx((narrow.weights, 2 * narrow.window))


def test_a_small_model_is_scaled_by_layers_and_width(catalog: Catalog) -> None:
    need = need_of(whisper("small"), catalog)
    assert need
    assert need.window == pytest.approx(0.22 * (12 * 768) / (32 * 1280))


def test_wider_beams_take_more_and_narrower_ones_are_not_trusted(catalog: Catalog) -> None:
    assert gb(whisper(beam_size=10), catalog) - gb(whisper(), catalog) == pytest.approx((8 + 2) * 0.22)
    assert gb(whisper(beam_size=1), catalog) == gb(whisper(), catalog)


def test_an_aligner_holds_the_largest_of_its_languages(catalog: Catalog) -> None:
    aligner = AlignmentArgs(models={"en": "base-en", "de": "large-de@latest"}, batch_size=1)
    assert gb(aligner, catalog) == pytest.approx(0.5 + 0.378 + 1.262 + 0.5 + 0.7)
    one_by_one = aligner.model_copy(update={"keep_loaded": 1})
    assert gb(one_by_one, catalog) == pytest.approx(0.5 + 1.262 + 0.5 + 0.7)


def test_an_aligner_without_a_batch_size_takes_many_windows(catalog: Catalog) -> None:
    assert gb(AlignmentArgs(models={"en": "base-en"}), catalog) == pytest.approx(0.5 + 0.378 + 0.5 + 16 * 0.5)


def test_a_diarizer_is_bounded_by_its_batch(catalog: Catalog) -> None:
    assert gb(DiarizationArgs(model="voices", batch_size=32), catalog) == pytest.approx(13.0 + 0.5, abs=0.2)
    assert gb(DiarizationArgs(model="voices", batch_size=1), catalog) < 1


@pytest.mark.parametrize(
    "args", [whisper("unweighed"), whisper("nobody-knows"), DiarizationArgs(app="high"), AlignmentArgs(app="high")]
)
def test_nothing_is_said_of_what_nobody_knows(
    catalog: Catalog, args: TranscriptionArgs | AlignmentArgs | DiarizationArgs
) -> None:
    assert need_of(args, catalog) is None
    assert what_fits(args, catalog, 0.01, 24) is None


def test_the_smallest_share_holds_it_and_a_hundredth_less_does_not(catalog: Catalog) -> None:
    need = need_of(whisper(), catalog)
    assert need
    share = need.smallest_share(24)
    assert share
    assert (share - 0.01) * 24 < need.total <= share * 24
    assert need.smallest_share(6) is None


def test_the_largest_batch_fits_and_one_more_does_not() -> None:
    need = Need(weights=1.0, work=0.5, window=0.25, batch=16)
    assert (need.largest_batch(4.0), need.largest_batch(3.99)) == (8, 7)
    assert need.largest_batch(2.0) == 0
    assert need.largest_batch(100.0) == 16
    beside = Need(weights=1.0, work=0.5, window=0.25, batch=16, second="cuda")
    assert (beside.largest_batch(5.0), beside.largest_batch(4.99)) == (8, 7)


def test_what_fits_is_told_with_ways_that_do(catalog: Catalog) -> None:
    args = whisper(batch_size=16)
    assert what_fits(args, catalog, 0.4, 24) is None
    assert what_fits(args, catalog, 0.33, 24) == (
        "needs 9.4 GB (weights 3.1, CUDA 0.5, work 2 × 0.7, (16 + 4) × 0.22 at work), but 0.33 of a GPU of 24 GB is "
        "7.9; what fits: num_gpus: 0.4 or batch_size: 11 or compute_type: int8_float16"
    )
    for mended, share in (
        (args, 0.4),
        (whisper(batch_size=11), 0.33),
        (whisper(batch_size=16, compute_type="int8_float16"), 0.33),
    ):
        assert what_fits(mended, catalog, share, 24) is None


def test_more_than_one_gpu_is_no_more_memory_than_one(catalog: Catalog) -> None:
    assert "2 of a GPU of 6 GB is 6.0" in str(what_fits(whisper(batch_size=16), catalog, 2, 6))


def test_a_model_that_no_share_holds_needs_another_gpu_or_model(catalog: Catalog) -> None:
    assert str(what_fits(whisper(), catalog, 1, 1)).endswith("what fits: a smaller model, or a larger GPU")
