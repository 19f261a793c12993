"""Windows together hear what each hears alone: every kind of wav2vec2, small ones with weights drawn by chance."""

from typing import Any

import numpy as np
import pytest
import torch

from serve_app.models.align_emissions import Emissions
from serve_app.stages import Audio

LENGTHS = [16_000, 15_999, 14_321, 13_100, 800, 401, 400, 1, 0, 16_000]
CONV = [(32, 10, 5), (32, 3, 2), (32, 3, 2), (32, 3, 2), (32, 3, 2), (32, 2, 2), (32, 2, 2)]


def of_transformers(norm: str, stable: bool) -> Any:
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    dims, kernels, strides = (list(column) for column in zip(*CONV, strict=True))
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    conv = {"conv_dim": dims, "conv_kernel": kernels, "conv_stride": strides, "num_conv_pos_embedding_groups": 4}
    config = Wav2Vec2Config(
        vocab_size=30, feat_extract_norm=norm, do_stable_layer_norm=stable, conv_bias=stable, **sizes, **conv
    )
    return Wav2Vec2ForCTC(config)


def of_torchaudio(norm: str, first: bool) -> Any:
    from torchaudio.models import wav2vec2_model

    return wav2vec2_model(
        extractor_mode=norm,
        extractor_conv_layer_config=CONV,
        extractor_conv_bias=first,
        encoder_embed_dim=32,
        encoder_projection_dropout=0.1,
        encoder_pos_conv_kernel=128,
        encoder_pos_conv_groups=4,
        encoder_num_layers=2,
        encoder_num_heads=2,
        encoder_attention_dropout=0.1,
        encoder_ff_interm_features=64,
        encoder_ff_interm_dropout=0.1,
        encoder_dropout=0.1,
        encoder_layer_norm_first=first,
        encoder_layer_drop=0.1,
        aux_num_out=30,
    )


MODELS = {
    "transformers, group norm": ("huggingface", lambda: of_transformers("group", False)),
    "transformers, layer norm": ("huggingface", lambda: of_transformers("layer", True)),
    "torchaudio, group norm": ("torchaudio", lambda: of_torchaudio("group_norm", False)),
    "torchaudio, layer norm": ("torchaudio", lambda: of_torchaudio("layer_norm", True)),
}


@pytest.fixture(params=MODELS)
def kind_and_model(request: pytest.FixtureRequest) -> tuple[str, Any]:
    torch.manual_seed(1)
    kind, build = MODELS[request.param]
    return kind, build().eval()


def clips() -> list[Audio]:
    dice = np.random.default_rng(1)
    return [dice.normal(0.1, dice.uniform(0.05, 1), length).astype(np.float32) for length in LENGTHS]


def alone(model: Any, clip: Audio) -> torch.Tensor:
    """What whisperx asks of a model: one clip, padded to the receptive field, nothing masked."""
    with torch.inference_mode():
        heard = model(torch.from_numpy(np.pad(clip, (0, max(0, 400 - len(clip)))))[None])
    logits: torch.Tensor = heard[0] if isinstance(heard, tuple) else heard.logits
    return logits[0]


def test_a_batch_hears_what_each_clip_hears_alone(kind_and_model: tuple[str, Any]) -> None:
    kind, model = kind_and_model
    wanted = [alone(model, clip) for clip in clips()]
    together = Emissions(model, kind, "cpu", batch_size=8)(clips())
    assert [found.shape for found in together] == [single.shape for single in wanted]
    for found, single in zip(together, wanted, strict=True):
        torch.testing.assert_close(found, single, rtol=1e-3, atol=1e-4)


def test_without_its_own_norm_padding_would_be_heard() -> None:
    """The reason for PerClipNorm: with a plain group norm the very same mask is not enough."""
    torch.manual_seed(1)
    model = of_transformers("group", False).eval()
    long, short = clips()[0], clips()[3]
    batch = torch.from_numpy(np.stack([long, np.pad(short, (0, len(long) - len(short)))]))
    mask = torch.arange(len(long)) < torch.tensor([[len(long)], [len(short)]])
    with torch.inference_mode():
        padded = model(batch, attention_mask=mask.long()).logits[1]
    single = alone(model, short)
    assert (padded[: len(single)] - single).abs().max() > 1e-2


def test_no_clips_are_no_emissions(kind_and_model: tuple[str, Any]) -> None:
    kind, model = kind_and_model
    assert Emissions(model, kind, "cpu", batch_size=8)([]) == []


def test_read_only_audio_is_taken_as_it_is(kind_and_model: tuple[str, Any]) -> None:
    kind, model = kind_and_model
    (clip, *_) = clips()
    clip.flags.writeable = False
    (heard,) = Emissions(model, kind, "cpu", batch_size=1)([clip])
    torch.testing.assert_close(heard, alone(model, clip.copy()))
