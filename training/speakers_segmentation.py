"""Train the segmenter: who of at most three speakers talks when, whatever they are called."""

from __future__ import annotations

import time
from itertools import combinations, permutations

import torch
from torch import Tensor

from serve_app.models.small_tdnn import SmallSegmenter, SmallTDNN
from training.speakers_data import LOCAL_SPEAKERS, Pool, batches
from training.speakers_embedding import learning_rate

PEAK_LEARNING_RATE = 1e-3
SETS = [(), *combinations(range(LOCAL_SPEAKERS), 1), *combinations(range(LOCAL_SPEAKERS), 2)]
"""The segmenter's classes in pyannote's order: nobody, each speaker, each pair."""


def train_segmentation(
    pool: Pool, embedding: SmallTDNN, seconds: float, seed: int, batch_size: int = 64
) -> SmallSegmenter:
    """Train for so many seconds; the first layers start as the embedding's, which already tell voices apart."""
    model = SmallSegmenter()
    model.tdnn.load_state_dict(embedding.tdnn.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0, betas=(0.9, 0.98), weight_decay=0.01)
    stream, began, step = batches(pool, batch_size, seed), time.monotonic(), 0
    while (done := (time.monotonic() - began) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(done, PEAK_LEARNING_RATE)
        batch = next(stream)
        with torch.autocast("cpu", torch.bfloat16):
            scores = model(batch.samples)
        loss = any_order_loss(scores.float(), batch.activity)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 50 == 0:
            print(f"segmentation {done:5.1%} step {step} loss {loss.item():.3f}", flush=True)
    return model.eval()


def any_order_loss(scores: Tensor, activity: Tensor) -> Tensor:
    """Cross-entropy of scores (batch, frames, sets) under the best order of the speakers (batch, 3, frames)."""
    each = [
        -scores.gather(2, set_numbers(activity[:, list(order)])[..., None]).mean(dim=(1, 2))
        for order in permutations(range(LOCAL_SPEAKERS))
    ]
    return torch.stack(each).amin(0).mean()


def set_numbers(activity: Tensor) -> Tensor:
    """Activity (batch, 3, frames) to the number of the set that is talking (batch, frames); of three, the first two."""
    codes = (activity.long() * torch.tensor([1, 2, 4])[:, None]).sum(1)
    numbers = torch.zeros(8, dtype=torch.long)
    for number, speakers in enumerate(SETS):
        numbers[sum(1 << speaker for speaker in speakers)] = number
    numbers[7] = SETS.index((0, 1))
    return numbers[codes]
