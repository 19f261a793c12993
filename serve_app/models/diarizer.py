"""The diarization model: a pyannote pipeline from a directory."""

from pathlib import Path

from serve_app.config import DiarizationArgs
from serve_app.models.devices import torch_device
from serve_app.models.environment import go_offline
from serve_app.options import SpeakerOptions
from serve_app.stages import Audio
from serve_app.transcript import SpeakerTurn
from serve_app.windows import SAMPLE_RATE


class Diarizer:
    """Finds speaker turns in whole files."""

    def __init__(self, path: Path, args: DiarizationArgs, threads: int) -> None:
        go_offline()
        import torch
        from pyannote.audio import Pipeline

        torch.set_num_threads(threads)
        pipeline = Pipeline.from_pretrained(path)
        if pipeline is None:
            raise FileNotFoundError(f"{path} holds no pyannote pipeline; verify the snapshot with `model-store verify`")
        pipeline.segmentation_batch_size = args.batch_size
        pipeline.embedding_batch_size = args.batch_size
        self._pipeline = pipeline.to(torch.device(torch_device(args.device)))
        self._from_numpy = torch.from_numpy

    def warm_up(self) -> None:
        """Diarize two seconds of silence."""
        import numpy as np

        self.diarize(np.zeros(2 * SAMPLE_RATE, np.float32), SpeakerOptions())

    def diarize(self, audio: Audio, options: SpeakerOptions) -> list[SpeakerTurn]:
        """Return turns in the order of time, under the model's own speaker names."""
        file = {"waveform": self._from_numpy(audio[None].copy()), "sample_rate": SAMPLE_RATE}
        output = self._pipeline(
            file,
            num_speakers=options.num_speakers,
            min_speakers=options.min_speakers,
            max_speakers=options.max_speakers,
        )
        tracks = output.speaker_diarization.itertracks(yield_label=True)
        return [SpeakerTurn(round(turn.start, 3), round(turn.end, 3), str(name)) for turn, _, name in tracks]
