"""Diarization by blocks is held to pyannote's own pipeline on the whole file at once."""

import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from serve_app.blocks import BLOCK_S, REACH_S, Block
from serve_app.config import DiarizationArgs
from serve_app.errors import BadRequest
from serve_app.models.audio import decode
from serve_app.models.diarizer import Diarizer
from serve_app.models.diarizer_chunks import Chunks
from serve_app.models.diarizer_clustering import Clusterer
from serve_app.models.diarizer_embeddings import Embedder
from serve_app.options import SpeakerOptions
from serve_app.stages import Audio
from serve_app.transcript import SpeakerTurn
from serve_app.voices import Speakers, Voices
from serve_app.windows import SAMPLE_RATE

ARGS = DiarizationArgs(model="demo-diarization", device="cpu")
FREE = SpeakerOptions()


@pytest.fixture(scope="module")
def model(demo_models: Path) -> Path:
    return demo_models / "diarization"


@pytest.fixture(scope="module")
def ours(model: Path) -> Diarizer:
    return Diarizer(model, ARGS, 1)


class Theirs:
    """pyannote's pipeline, which hears each file once and then only clusters anew."""

    def __init__(self, path: Path) -> None:
        from pyannote.audio import Pipeline

        self._pipeline = Pipeline.from_pretrained(path)
        self._segment, self._embed = self._pipeline.get_segmentations, self._pipeline.get_embeddings
        self._pipeline.get_segmentations = self._once(self._segment)
        self._pipeline.get_embeddings = self._once(self._embed)

    @staticmethod
    def _once(run: Callable[..., Any]) -> Callable[..., Any]:
        known: dict[str, Any] = {}

        def first(file: dict[str, Any], *args: Any, **options: Any) -> Any:
            if file["uri"] not in known:
                known[file["uri"]] = run(file, *args, **options)
            return pickle.loads(pickle.dumps(known[file["uri"]]))

        return first

    def __call__(self, name: str, audio: Audio, options: SpeakerOptions) -> Speakers:
        file = {"waveform": torch.from_numpy(audio[None].copy()), "sample_rate": SAMPLE_RATE, "uri": name}
        wanted = {key: getattr(options, key) for key in ("num_speakers", "min_speakers", "max_speakers")}
        found = self._pipeline(file, **wanted)
        voices = zip(found.speaker_diarization.labels(), found.speaker_embeddings, strict=True)
        exclusive = self._turns(found.exclusive_speaker_diarization)
        return Speakers(self._turns(found.speaker_diarization), exclusive, {k: tuple(v) for k, v in voices})

    @staticmethod
    def _turns(annotation: Any) -> tuple[SpeakerTurn, ...]:
        tracks = annotation.itertracks(yield_label=True)
        return tuple(SpeakerTurn(round(turn.start, 3), round(turn.end, 3), name) for turn, _, name in tracks)


@pytest.fixture(scope="module")
def theirs(model: Path) -> Theirs:
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    return Theirs(model)


@pytest.fixture(scope="module")
def audio(sample: Any) -> Callable[[str], Audio]:
    def read(name: str) -> Audio:
        if name == "four_blocks":
            return np.concatenate([read("three_speakers"), read("conversation"), read("two_minutes")])
        return decode(sample(name).path.read_bytes())

    return read


def blocks(samples: Audio) -> list[Block]:
    """The blocks of a file, as they follow each other."""
    size, total = BLOCK_S * SAMPLE_RATE, len(samples)
    starts = range(0, total, size)
    return [Block(start, min(start + size + REACH_S * SAMPLE_RATE, total), start + size >= total) for start in starts]


@pytest.fixture(scope="module")
def heard(ours: Diarizer, audio: Callable[[str], Audio]) -> Callable[[str], list[Voices]]:
    known: dict[str, list[Voices]] = {}

    def hear(name: str) -> list[Voices]:
        if name not in known:
            samples = audio(name)
            known[name] = [ours.hear(block, samples[block.start : block.stop]) for block in blocks(samples)]
        return known[name]

    return hear


def lettered(speakers: Speakers) -> Speakers:
    """pyannote's speakers under our letters."""
    order = list(dict.fromkeys(turn.speaker for turn in speakers.turns))
    names = {name: chr(ord("A") + index) for index, name in enumerate(order)}

    def rename(turns: tuple[SpeakerTurn, ...]) -> tuple[SpeakerTurn, ...]:
        return tuple(SpeakerTurn(turn.start, turn.end, names[turn.speaker]) for turn in turns)

    voices = {names[name]: voice for name, voice in speakers.embeddings.items()}
    return Speakers(rename(speakers.turns), rename(speakers.exclusive), voices)


@pytest.mark.parametrize(
    "options",
    [
        FREE,
        SpeakerOptions(num_speakers=2),
        SpeakerOptions(num_speakers=1),
        SpeakerOptions(min_speakers=4),
        SpeakerOptions(max_speakers=2),
        SpeakerOptions(3, 2, 4),
    ],
    ids=["free", "two", "one", "four-or-more", "two-or-less", "three-within-bounds"],
)
@pytest.mark.parametrize(
    "file", ["three_speakers", "four_blocks", pytest.param("two_minutes", marks=pytest.mark.slow), "silence", "noise"]
)
def test_speakers_are_those_of_pyannote_on_the_whole_file(
    ours: Diarizer, theirs: Theirs, audio: Any, heard: Any, file: str, options: SpeakerOptions
) -> None:
    wanted = lettered(theirs(file, audio(file), options))
    found = ours.turns(heard(file), options)
    assert found.turns == wanted.turns
    assert found.exclusive == wanted.exclusive
    assert found.embeddings.keys() == wanted.embeddings.keys()
    for name, voice in found.embeddings.items():
        np.testing.assert_allclose(voice, wanted.embeddings[name], atol=1e-4)


def test_the_long_file_has_four_blocks_and_speech_in_each(heard: Any) -> None:
    assert [block.first for block in heard("four_blocks")] == [0, 60, 120, 180]
    assert all(block.scores.any() for block in heard("four_blocks"))


@pytest.mark.parametrize(
    ("options", "speakers"),
    [
        (FREE, 3),
        (SpeakerOptions(num_speakers=2), 2),
        (SpeakerOptions(num_speakers=1), 1),
        (SpeakerOptions(min_speakers=2, max_speakers=2), 2),
        (SpeakerOptions(max_speakers=2), 2),
        (SpeakerOptions(max_speakers=5), 3),
        (SpeakerOptions(min_speakers=4), 4),
    ],
)
def test_the_wanted_number_of_speakers_is_found(
    ours: Diarizer, heard: Any, options: SpeakerOptions, speakers: int
) -> None:
    found = ours.turns(heard("three_speakers"), options)
    assert len({turn.speaker for turn in found.turns}) == len(found.embeddings) == speakers


@pytest.mark.parametrize(
    ("asked", "param", "said"),
    [
        ((None, 3, 2), "min_speakers", r"min_speakers \(3\) is above max_speakers \(2\)"),
        ((5, None, 4), "num_speakers", r"num_speakers \(5\) is above max_speakers \(4\)"),
        ((1, 2, None), "min_speakers", r"min_speakers \(2\) is above num_speakers \(1\)"),
        ((0, None, None), "num_speakers", "num_speakers is 0; give at least 1"),
        ((None, None, -1), "max_speakers", "max_speakers is -1; give at least 1"),
    ],
)
def test_contradictory_numbers_of_speakers_are_refused(asked: tuple[int | None, ...], param: str, said: str) -> None:
    with pytest.raises(BadRequest, match=said) as caught:
        SpeakerOptions(*asked)  # type: ignore[arg-type]
    assert caught.value.param == param


def test_a_whole_file_is_cut_heard_and_put_together(ours: Diarizer, audio: Any, heard: Any) -> None:
    turns = ours.diarize(audio("three_speakers"), FREE)
    assert turns == list(ours.turns(heard("three_speakers"), FREE).turns)
    assert ours.diarize(np.zeros(0, np.float32), FREE) == []


def test_voices_travel_and_their_order_does_not_matter(ours: Diarizer, heard: Any) -> None:
    voices = pickle.loads(pickle.dumps(heard("four_blocks")))
    random.Random(4).shuffle(voices)
    assert ours.turns(voices, FREE) == ours.turns(heard("four_blocks"), FREE)
    assert voices[0].scores.dtype == np.uint8
    assert voices[0].embeddings.dtype == np.float32


@pytest.mark.parametrize(("kept", "chunk"), [([0, 2, 3], 60), ([1, 2, 3], 0), ([0, 1, 1, 2, 3], 60)])
def test_a_block_missing_or_heard_twice_is_noticed(ours: Diarizer, heard: Any, kept: list[int], chunk: int) -> None:
    voices = [heard("four_blocks")[index] for index in kept]
    with pytest.raises(ValueError, match=f"the voices of chunk {chunk} are missing or there twice"):
        ours.turns(voices, FREE)


def test_no_blocks_are_nobody(ours: Diarizer) -> None:
    assert ours.turns([], FREE) == Speakers()


def test_a_gap_is_heard_without_a_model(ours: Diarizer, monkeypatch: pytest.MonkeyPatch) -> None:
    gap = np.zeros((BLOCK_S + REACH_S) * SAMPLE_RATE, np.float32)
    first = 5 * BLOCK_S * SAMPLE_RATE
    full = ours._segment(gap[: 10 * SAMPLE_RATE])
    monkeypatch.setattr(ours, "_segment", lambda samples: pytest.fail("the segmentation was run on silence"))
    monkeypatch.setattr(ours._embedder, "_run", lambda *args: pytest.fail("the embedding was run on silence"))
    voices = ours.hear(Block(first, first + len(gap), False), gap)
    assert (voices.first, voices.stop) == (300, 360)
    assert not voices.scores.any()
    assert not full.any(), "what the model says of silence"
    assert voices.scores.shape[1:] == full.shape[1:]
    assert voices.embeddings.shape == (60, 3, 164)


@pytest.mark.slow
def test_a_gap_between_two_blocks_leaves_their_speakers(ours: Diarizer, theirs: Theirs, audio: Any) -> None:
    three = audio("three_speakers")
    gapped = np.concatenate([three, np.zeros(140 * SAMPLE_RATE, np.float32), three])
    voices = [ours.hear(block, gapped[block.start : block.stop]) for block in blocks(gapped)]
    assert [bool(block.scores.any()) for block in voices] == [True, False, True, True]
    assert ours.turns(voices, FREE).turns == lettered(theirs("gapped", gapped, FREE)).turns


def test_warming_up_runs_both_networks(ours: Diarizer, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    segment, embed = ours._segment, ours._embedder._run
    monkeypatch.setattr(ours, "_segment", lambda samples: (ran.append("segmentation"), segment(samples))[1])
    monkeypatch.setattr(ours._embedder, "_run", lambda *args: (ran.append("embedding"), embed(*args))[1])
    ours.warm_up()
    assert set(ran) == {"segmentation", "embedding"}


def test_above_the_bound_fewer_embeddings_are_clustered_and_all_are_assigned(
    model: Path, ours: Diarizer, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounded = Clusterer(Diarizer(model, ARGS, 1)._pipeline, 20)
    clustering = bounded._pipeline.clustering
    seen, cluster = [], clustering.cluster
    monkeypatch.setattr(
        clustering, "cluster", lambda found, **options: (seen.append(len(found)), cluster(found, **options))[1]
    )
    (voices,) = heard("three_speakers")
    found = lettered(bounded(voices.scores, voices.embeddings, FREE))
    assert seen == [20]
    assert len(found.embeddings) == 3
    assert found.turns == ours.turns([voices], FREE).turns


def changed(model: Path, folder: Path, old: str, new: str) -> Path:
    """A copy of the snapshot with another line in its config."""
    shutil.copytree(model, folder, dirs_exist_ok=True)
    config = (model / "config.yaml").read_text()
    assert old in config
    (folder / "config.yaml").write_text(config.replace(old, new))
    return folder


def test_a_step_that_divides_no_block_is_refused_at_load(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a chunk every 3.5 s, of which blocks of 60 s hold no whole number"):
        Diarizer(changed(model, tmp_path, "segmentation_step: 0.2", "segmentation_step: 0.7"), ARGS, 1)


def test_gaps_that_the_snapshot_closes_are_closed_as_pyannote_does(
    model: Path, tmp_path: Path, audio: Any, heard: Any
) -> None:
    closing = changed(model, tmp_path, "min_duration_off: 0.0", "min_duration_off: 0.8")
    found = Diarizer(closing, ARGS, 1).turns(heard("three_speakers"), FREE)
    wanted = lettered(Theirs(closing)("three_speakers", audio("three_speakers"), FREE))
    assert (found.turns, found.exclusive) == (wanted.turns, wanted.exclusive)


@pytest.fixture(scope="module")
def bayes(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The snapshot with the clustering of pyannote's community-1."""
    folder = tmp_path_factory.mktemp("bayes")
    config = (model / "config.yaml").read_text()
    changed(model, folder, config[config.index("    method:") :], "    threshold: 0.6\n    Fa: 0.07\n    Fb: 0.8\n")
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("AgglomerativeClustering", "VBxClustering"))
    return folder


def test_variational_bayes_is_that_of_pyannote_too(bayes: Path, audio: Any, heard: Any) -> None:
    diarizer, theirs = Diarizer(bayes, ARGS, 1), Theirs(bayes)
    for options in (FREE, SpeakerOptions(num_speakers=2)):
        found = diarizer.turns(heard("three_speakers"), options)
        wanted = lettered(theirs("three_speakers", audio("three_speakers"), options))
        assert (found.turns, found.exclusive) == (wanted.turns, wanted.exclusive)
        assert found.turns


def test_more_speakers_than_voices_are_as_many_as_there_can_be(bayes: Path, ours: Diarizer, heard: Any) -> None:
    (voices,) = heard("three_speakers")
    few = Voices(0, voices.scores[:6], voices.embeddings[:6])
    for diarizer in (ours, Diarizer(bayes, ARGS, 1)):
        found = diarizer.turns([few], SpeakerOptions(num_speakers=50))
        assert 1 < len(found.embeddings) < 18


def test_chunks_that_reach_beyond_a_block_are_refused() -> None:
    with pytest.raises(ValueError, match="chunks of 12 s are longer than the 10 s"):
        Chunks(12 * SAMPLE_RATE, SAMPLE_RATE)


@pytest.mark.parametrize("chunk_s", [5, 10])
def test_every_chunk_of_a_file_belongs_to_one_block(chunk_s: int) -> None:
    chunks = Chunks(chunk_s * SAMPLE_RATE, SAMPLE_RATE)
    for seconds in (0.5, 4, 5, 5.5, 10, 59, 60, 60.5, 62, 62.5, 64, 65, 65.1, 69, 70, 70.5, 120, 121, 125, 130, 190.3):
        total = round(seconds * SAMPLE_RATE)
        starts = range(0, total, BLOCK_S * SAMPLE_RATE)
        cut = [Block(s, min(s + (BLOCK_S + REACH_S) * SAMPLE_RATE, total), False) for s in starts]
        own = [index for block in cut for index in chunks.own(block)]
        assert own == list(range(pyannotes_count(total, chunks))), seconds


def pyannotes_count(samples: int, chunks: Chunks) -> int:
    """The chunks of `Inference.slide`: the whole ones, and one more where samples are left."""
    whole = len(torch.zeros(samples).unfold(0, chunks.length, chunks.step)) if samples >= chunks.length else 0
    return whole + (samples < chunks.length or (samples - chunks.length) % chunks.step > 0)


class Voice:
    """An embedding model that counts what it hears, and may not take several weights at once or heed what has none."""

    min_num_samples = 400

    def __init__(self, several: bool, heeds_all: bool = False) -> None:
        self.several, self.heeds_all, self.heard = several, heeds_all, 0

    def __call__(self, waveforms: torch.Tensor, masks: torch.Tensor) -> np.ndarray:
        if masks.dim() == 3 and not self.several:
            raise ValueError("one mask for each waveform")
        self.heard += len(waveforms)
        means = torch.nn.functional.adaptive_avg_pool1d(waveforms, masks.shape[-1])
        weighted = (means * masks if masks.dim() == 3 else means[:, 0] * masks).sum(-1, keepdim=True)
        found = torch.cat([weighted, weighted * 2], -1)
        return (found + waveforms.mean(-1, keepdim=masks.dim() == 3) * self.heeds_all).numpy()


class Holder:
    """As much of a pipeline as the embedder reads."""

    def __init__(self, voice: Voice, exclude: bool) -> None:
        self._embedding, self.embedding_exclude_overlap = voice, exclude


@pytest.mark.parametrize(("several", "heeds_all", "runs"), [(True, False, 3), (False, False, 9), (True, True, 6)])
@pytest.mark.parametrize("exclude", [True, False])
def test_a_chunk_is_heard_once_where_the_model_allows_it(
    several: bool, heeds_all: bool, runs: int, exclude: bool
) -> None:
    voice, chunks = Voice(several, heeds_all), Chunks(SAMPLE_RATE, SAMPLE_RATE // 2)
    embed = Embedder(Holder(voice, exclude), chunks, 10, 2)
    samples = np.random.default_rng(1).standard_normal(3 * SAMPLE_RATE + 300).astype(np.float32)
    active = np.zeros((6, 10, 3), np.uint8)
    active[0, 2:8, 0] = active[2, 4:, 1] = active[5, :, 2] = active[0, 5:, 1] = 1
    voice.heard = 0
    found = embed(samples, active)
    assert voice.heard == runs
    padded = np.pad(samples, (0, SAMPLE_RATE))
    for chunk in range(6):
        clip = torch.from_numpy(padded[chunk * SAMPLE_RATE // 2 :][:SAMPLE_RATE].copy())[None, None]
        for speaker in range(3):
            alone = active[chunk].sum(1) < 2 if exclude else np.ones(10)
            mask = torch.from_numpy((active[chunk, :, speaker] * alone).astype(np.float32))[None]
            np.testing.assert_allclose(found[chunk, speaker], voice(clip, mask)[0], atol=1e-3)
