"""torchaudio's aligners as a source: the bundles that whisperx asks for, without importing torch."""

import os

from model_store.errors import UsageError
from model_store.sources.base import Collected
from model_store.sources.objects import WebSource

URL = "https://download.pytorch.org/torchaudio/models"
VARIABLE = "RAYSCRIBE_TORCHAUDIO_URL"
BUNDLES = {
    "WAV2VEC2_ASR_BASE_960H": "wav2vec2_fairseq_base_ls960_asr_ls960.pth",
    "VOXPOPULI_ASR_BASE_10K_DE": "wav2vec2_voxpopuli_base_10k_asr_de.pt",
    "VOXPOPULI_ASR_BASE_10K_ES": "wav2vec2_voxpopuli_base_10k_asr_es.pt",
    "VOXPOPULI_ASR_BASE_10K_FR": "wav2vec2_voxpopuli_base_10k_asr_fr.pt",
    "VOXPOPULI_ASR_BASE_10K_IT": "wav2vec2_voxpopuli_base_10k_asr_it.pt",
}
"""whisperx's default aligners of torchaudio 2.8, and the files that `bundle.get_model()` loads."""


class TorchaudioSource:
    """One bundle's checkpoint, under the name that torchaudio gives it; RAYSCRIBE_TORCHAUDIO_URL names a mirror."""

    def __init__(self, bundle: str) -> None:
        if bundle not in BUNDLES:
            raise UsageError(f"{bundle!r} is not a bundle that whisperx uses.", f"There are: {', '.join(BUNDLES)}.")
        self._web = WebSource(os.environ.get(VARIABLE) or URL, (BUNDLES[bundle],), f"torchaudio:{bundle}")

    def collect(self) -> Collected:
        """Download the checkpoint; raises SourceError."""
        return self._web.collect()
