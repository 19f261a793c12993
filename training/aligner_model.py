"""The demo aligner's network: a small stock wav2vec2 whose first layers start out as a mel spectrogram."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from training.speech import SAMPLE_RATE

BLANK, SPACE = 0, 4
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "|")
VOCABULARY = {token: i for i, token in enumerate((*SPECIAL, *"abcdefghijklmnopqrstuvwxyz'"))}
MELS, PHASES, KERNEL = 64, 4, 400


def make_model() -> Wav2Vec2ForCTC:
    """1.1 M parameters, one frame per 20 ms, with the mel-like stem."""
    model = Wav2Vec2ForCTC(_config())
    _start_as_mel(model)
    return model


def frames_of(samples: int) -> int:
    """How many frames the network makes of so many samples."""
    for kernel, stride in ((KERNEL, 80), (2, 2), (2, 2)):
        samples = (samples - kernel) // stride + 1
    return samples


class AlignerTrainer(nn.Module):
    """The network with a second head that names the phoneme of each frame; that head is thrown away after training."""

    def __init__(self, phones: int) -> None:
        super().__init__()
        self.network = make_model()
        self.phone_head = nn.Linear(self.network.config.hidden_size, phones)

    def forward(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Samples (batch, time) to logits of characters and of phonemes, each (batch, frames, classes)."""
        hidden = self.network.wav2vec2(samples).last_hidden_state
        return self.network.lm_head(hidden), self.phone_head(hidden)


def _config() -> Wav2Vec2Config:
    return Wav2Vec2Config(
        vocab_size=len(VOCABULARY),
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=512,
        conv_dim=(MELS * PHASES, 160, 128),
        conv_kernel=(KERNEL, 2, 2),
        conv_stride=(80, 2, 2),
        num_feat_extract_layers=3,
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=8,
        feat_extract_norm="group",
        do_stable_layer_norm=True,
        apply_spec_augment=False,
        ctc_zero_infinity=True,
        pad_token_id=BLANK,
        **dict.fromkeys(("activation_dropout", "attention_dropout", "feat_proj_dropout", "final_dropout"), 0.0),
        **dict.fromkeys(("hidden_dropout", "layerdrop", "mask_time_prob"), 0.0),
    )


@torch.no_grad()
def _start_as_mel(model: Wav2Vec2ForCTC) -> None:
    """First layer: windowed cosines in four phases at mel-spaced pitches; second: their mean; third: the identity."""
    first, second, third = (layer.conv.weight for layer in model.wav2vec2.feature_extractor.conv_layers)
    first.copy_(_cosines().unsqueeze(1))
    second.mul_(0.3)
    third.mul_(0.3)
    for mel in range(MELS):
        second[mel] = 0
        second[mel, mel * PHASES : (mel + 1) * PHASES] = 1 / (2 * PHASES) * 4
        third[mel] = 0
        third[mel, mel] = 0.5


def _cosines() -> Tensor:
    """Filters of shape (64 pitches x 4 phases, 400 samples), 60 to 7600 Hz, of unit length."""
    mels = torch.linspace(_mel(60), _mel(7600), MELS)
    hertz = 700 * (10 ** (mels / 2595) - 1)
    time = (torch.arange(KERNEL) - KERNEL / 2) / SAMPLE_RATE
    phase = torch.arange(PHASES) * math.pi / 2
    waves = torch.cos(2 * math.pi * hertz[:, None, None] * time + phase[:, None]) * torch.hann_window(KERNEL)
    return (waves / waves.norm(dim=-1, keepdim=True)).reshape(MELS * PHASES, KERNEL)


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)
