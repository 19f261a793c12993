"""The files of the demo diarization pipeline, as `pyannote.audio.Pipeline.from_pretrained` reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from pyannote.audio.core.model import Model
from pyannote.audio.core.task import Problem, Resolution, Specifications
from scipy.linalg import eigh

from serve_app.models.small_tdnn import SmallSegmenter, SmallTDNN
from training.speakers_data import CHUNK_S

Matrix = NDArray[np.float64]
PYANNOTE = "4.0.0"
EMBEDDING = Specifications(problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=CHUNK_S)
SEGMENTATION = Specifications(
    problem=Problem.MONO_LABEL_CLASSIFICATION,
    resolution=Resolution.FRAME,
    duration=CHUNK_S,
    classes=["speaker#1", "speaker#2", "speaker#3"],
    powerset_max_classes=2,
    permutation_invariant=True,
)


def save_pipeline(folder: Path, embedding: SmallTDNN, segmentation: SmallSegmenter, plda: dict[str, Matrix]) -> None:
    """Write both networks (float16) and the PLDA; config.yaml is written by `save_config`."""
    save_model(embedding, EMBEDDING, folder / "embedding" / "pytorch_model.bin")
    save_model(segmentation, SEGMENTATION, folder / "segmentation" / "pytorch_model.bin")
    (folder / "plda").mkdir(parents=True, exist_ok=True)
    size = embedding.dimension
    np.savez(folder / "plda" / "xvec_transform.npz", mean1=np.zeros(size), mean2=np.zeros(size), lda=np.eye(size))
    np.savez(folder / "plda" / "plda.npz", **plda)


def save_config(folder: Path, clustering: str, parameters: dict[str, Any]) -> None:
    """Write config.yaml: the pipeline with this clustering (a pyannote class) and its parameters."""
    params = {
        "segmentation": "$model/segmentation",
        "segmentation_step": 0.2,
        "segmentation_batch_size": 16,
        "embedding": "$model/embedding",
        "embedding_exclude_overlap": True,
        "embedding_batch_size": 16,
        "clustering": clustering,
        "plda": "$model/plda",
    }
    config = {
        "dependencies": {"pyannote.audio": PYANNOTE},
        "pipeline": {"name": "pyannote.audio.pipelines.SpeakerDiarization", "params": params},
        "params": parameters,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def save_model(model: Model, specifications: Specifications, path: Path) -> None:
    """Write a checkpoint that names the model's class and module; parameters become float16, buffers stay."""
    path.parent.mkdir(parents=True, exist_ok=True)
    halved = {name for name, _ in model.named_parameters()}
    state = {name: value.half() if name in halved else value for name, value in model.state_dict().items()}
    checkpoint = {
        "state_dict": state,
        "hyper_parameters": dict(model.hparams),
        "pytorch-lightning_version": lightning.__version__,
        "epoch": 0,
        "global_step": 0,
        "pyannote.audio": {
            "versions": {"torch": torch.__version__, "pyannote.audio": PYANNOTE},
            "architecture": {"module": type(model).__module__, "class": type(model).__name__},
            "specifications": specifications,
        },
    }
    torch.save(checkpoint, path)


def set_pitch_share(folder: Path, share: float) -> None:
    """Change how much of a saved pipeline's embedding is pitch."""
    path = folder / "embedding" / "pytorch_model.bin"
    checkpoint = torch.load(path, weights_only=False)
    checkpoint["hyper_parameters"]["pitch_share"] = share
    torch.save(checkpoint, path)


def fit_plda(embeddings: Matrix, speakers: NDArray[np.int64]) -> dict[str, Matrix]:
    """A two-covariance PLDA of embeddings (count, size) scaled to the length that pyannote gives them."""
    size = embeddings.shape[1]
    scaled = np.sqrt(size) * embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    scaled = np.sqrt(size) * scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    means = np.stack([scaled[speakers == speaker].mean(0) for speaker in np.unique(speakers)])
    index = np.unique(speakers, return_inverse=True)[1]
    within = np.cov((scaled - means[index]).T) + 1e-3 * np.eye(size)
    between, transform = eigh(np.cov(means.T), within)
    return {"mu": scaled.mean(0), "tr": transform.T, "psi": np.maximum(between, 1e-3)}
