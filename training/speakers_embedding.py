"""Train the speaker embedding: tell the training speakers apart by an additive margin softmax."""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from serve_app.models.small_tdnn import SmallTDNN
from training.speakers_data import ChunkBatch, Pool, batches

Matrix, Numbers = NDArray[np.float64], NDArray[np.int64]
SCALE, MARGIN, PITCH_WEIGHT = 24.0, 0.2, 0.3
PEAK_LEARNING_RATE = 3e-3
MIN_FRAMES = 12
"""A speaker heard for less than 0.5 s of a chunk teaches nothing."""


class Teacher(nn.Module):
    """What the embedding has to tell apart while it is trained: timbres (a variant and a vocal tract), and pitches.

    A speaker is a timbre at a pitch. Naming the two apart is learned much faster than naming each pair.
    """

    def __init__(self, size: int, pool: Pool) -> None:
        super().__init__()
        self.timbres, self.pitches = torch.from_numpy(pool.timbres), torch.from_numpy(pool.pitches)
        self.centres = nn.Parameter(torch.randn(int(self.timbres.max()) + 1, size))
        self.pitch = nn.Linear(size, int(self.pitches.max()) + 1)

    def forward(self, embeddings: Tensor, speakers: Tensor, margin: float) -> tuple[Tensor, Tensor]:
        """The loss of embeddings (count, size), and the share whose nearest timbre is the right one."""
        timbres = self.timbres[speakers]
        cosines = functional.normalize(embeddings) @ functional.normalize(self.centres).T
        right = functional.one_hot(timbres, cosines.shape[1])
        loss = functional.cross_entropy(SCALE * (cosines - margin * right), timbres)
        pitch_loss = functional.cross_entropy(self.pitch(embeddings), self.pitches[speakers])
        return loss + PITCH_WEIGHT * pitch_loss, (cosines.argmax(1) == timbres).float().mean()


def train_embedding(pool: Pool, seconds: float, seed: int, batch_size: int = 64) -> SmallTDNN:
    """Train for so many seconds on the pool's speakers."""
    model = SmallTDNN()
    teacher = Teacher(model.output.out_features, pool)
    parameters = [*model.parameters(), *teacher.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=0, weight_decay=1e-4)
    stream, began, step = batches(pool, batch_size, seed), time.monotonic(), 0
    while (done := (time.monotonic() - began) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(done, PEAK_LEARNING_RATE)
        loss, right = embedding_loss(model, teacher, next(stream), margin=MARGIN * min(1, done / 0.4))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        if step % 25 == 0:
            print(f"embedding {done:5.1%} step {step} loss {loss.item():.3f} right {right.item():.3f}", flush=True)
    return model.eval()


def embedding_loss(model: SmallTDNN, teacher: Teacher, batch: ChunkBatch, margin: float) -> tuple[Tensor, Tensor]:
    """Loss over every speaker heard alone for long enough; masks are moved a little, as real ones are never exact."""
    alone = batch.activity * (batch.activity.sum(1, keepdim=True) == 1)
    masks = torch.roll(alone, int(torch.randint(-2, 3, ())), dims=2)
    with torch.autocast("cpu", torch.bfloat16):
        frames = model.tdnn(model.features(batch.samples))
    embeddings = model.timbre(frames.float(), masks)
    heard = (alone.sum(2) >= MIN_FRAMES) & (batch.speakers >= 0)
    return teacher(embeddings[heard], batch.speakers[heard], margin)


@torch.inference_mode()
def embed_speakers(model: SmallTDNN, pool: Pool, chunks: int = 6000, seed: int = 3) -> tuple[Matrix, Numbers]:
    """Embeddings (count, size) of the speakers in fresh chunks, and the speakers' numbers, to fit the PLDA with."""
    stream, found, who = batches(pool, 50, seed), [], []
    for _ in range(chunks // 50):
        batch = next(stream)
        alone = batch.activity * (batch.activity.sum(1, keepdim=True) == 1)
        heard = (alone.sum(2) >= 2 * MIN_FRAMES) & (batch.speakers >= 0)
        found.append(model(batch.samples, alone)[heard].double().numpy())
        who.append(batch.speakers[heard].numpy())
    return np.concatenate(found), np.concatenate(who)


def learning_rate(done: float, peak: float) -> float:
    """A short rise, then a cosine down to nothing."""
    return peak * min(1.0, done / 0.03) * 0.5 * (1 + math.cos(math.pi * done))
