"""Train the demo aligner from scratch: `python -m training.aligner --minutes 30 --out demo/models/align`."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from training.aligner_data import IGNORE, Batch, Clips, flite_utterances
from training.aligner_files import save_aligner
from training.aligner_model import BLANK, AlignerTrainer

SEED = 7
PEAK_LEARNING_RATE = 1e-3


def main() -> None:
    """Train for the minutes given and write the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--out", type=Path, default=Path("demo/models/align"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    save_aligner(train(Clips(SEED, flite_utterances(SEED, 900)), options.minutes * 60).network, options.out)


def train(clips: Clips, seconds: float) -> AlignerTrainer:
    """Train for so many seconds; learning rate and weights of the losses follow the clock."""
    model = AlignerTrainer(len(clips.phones) + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0, betas=(0.9, 0.98), weight_decay=0.01)
    began, step, heard = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - began) / seconds) < 1:
        batch = clips.batch()
        losses = train_step(model, optimizer, batch, done)
        step, heard = step + 1, heard + batch.seconds
        if step % 20 == 0:
            parts = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            print(f"{done:5.1%} step {step} {heard / 3600:.2f} h {parts}", flush=True)
    return model.eval()


def train_step(model: AlignerTrainer, optimizer: torch.optim.Optimizer, batch: Batch, done: float) -> dict[str, float]:
    """One update at the point `done` (0 to 1) of the training; returns the three losses."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(done)
    with torch.autocast("cpu", torch.bfloat16):
        characters, phones = model(batch.samples)
    losses = {
        "ctc": ctc_loss(characters.float(), batch),
        "phones": functional.cross_entropy(phones.float().flatten(0, 1), batch.phones.flatten(), ignore_index=IGNORE),
        "bounds": boundary_loss(characters.float(), batch.boundaries),
    }
    total = losses["ctc"] + (1 - 0.7 * done) * losses["phones"] + (0.2 + 0.5 * done) * losses["bounds"]
    optimizer.zero_grad()
    total.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return {name: loss.item() for name, loss in losses.items()}


def ctc_loss(logits: Tensor, batch: Batch) -> Tensor:
    """CTC per character of the text."""
    lengths = torch.full((len(logits),), logits.shape[1])
    scores = logits.log_softmax(-1).transpose(0, 1)
    total = functional.ctc_loss(
        scores, batch.targets, lengths, batch.target_lengths, BLANK, reduction="sum", zero_infinity=True
    )
    return total / batch.target_lengths.sum()


def boundary_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy at the frames where words begin and end, and, at less weight, in the pauses between them."""
    each = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="none")
    edges, pauses = (labels > BLANK).flatten(), (labels == BLANK).flatten()
    return each[edges].mean().nan_to_num() + 0.5 * each[pauses].mean().nan_to_num()


def learning_rate(done: float) -> float:
    """A short rise, then a cosine down to nothing."""
    return PEAK_LEARNING_RATE * min(1.0, done / 0.03) * 0.5 * (1 + math.cos(math.pi * done))


if __name__ == "__main__":
    main()
