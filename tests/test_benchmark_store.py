"""The model store's benchmark at a small scale: it still runs, and what it says of us is true."""

import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from benchmarks.store import cold, crowd, faults, warm, whisper_files
from benchmarks.store.bench import Bench, in_turns, middle, ratio, reason
from benchmarks.store.children import capped, serving
from benchmarks.store.models import model

SIZE = 2e6


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), rounds=1, crowd=2)


def test_cold_from_a_directory(bench: Bench) -> None:
    cases = in_turns(cold.near(bench, model(bench, SIZE)), 1)
    assert [name for name, samples in cases.items() if reason(samples)] == []
    assert middle(cases["ours, directory"]) > 0
    assert [sample["fetched_bytes"] for sample in cases["ours, directory, hard links"]] == [0]
    cold.show(bench, {"all": {"bytes": 1, "cases": {**cases, cold.PEER: [{"absent": "not asked"}]}}})


def test_warm_needs_a_request_only_for_a_tag(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # kept from a test of a replica's model
    result = warm.measure(bench, SIZE)
    assert {name: case["requests"] for name, case in result.items()} == {
        warm.OFFLINE: 0,
        warm.ONLINE: 1,
        "ours, pinned digest": 0,
        "ours, tag, directory": 0,
        "ours, tag, HTTP": 1,
    }
    warm.show(bench, result)


def test_a_crowd_fails_nowhere_and_reads_once(bench: Bench) -> None:
    result = crowd.measure(bench, SIZE, peers=False)
    cases = {name.partition(", ")[2]: samples[0] for name, samples in result["cases"].items()}
    assert [case["errors"] for case in cases.values()] == [[], [], []]
    assert [cases[name]["sent"] for name in ("alone", "2 at once")] == pytest.approx([1, 1], abs=0.01)
    assert 1 <= cases["2 at once, flock a no-op"]["sent"] < 2.01
    crowd.show(bench, result)


def test_faults_are_noticed(bench: Bench) -> None:
    result = faults.measure(bench, SIZE)
    assert set(result["ours, fetch deep"].values()) == {"mended"}
    assert "unnoticed" not in result["ours, offline, verify"].values()
    assert result["snapshot_download, offline"]["killed"] == "unnoticed"
    faults.show(bench, result)


def test_the_proxy_holds_its_cap(bench: Bench) -> None:
    made = model(bench, SIZE)
    blob = made.blobs()["model.bin"]
    with serving(made) as served, capped(served.url, 4e6) as slow:
        began = time.perf_counter()
        with urllib.request.urlopen(f"{slow}/store/{blob.relative_to(made.root)}") as answer:
            assert answer.read() == blob.read_bytes()
    assert time.perf_counter() - began > 0.9 * SIZE / 4e6


def test_what_is_missing_is_said() -> None:
    samples = in_turns({"a": lambda: {"absent": "not here"}, "b": lambda: {"seconds": 2.0}}, 3)
    assert (len(samples["a"]), len(samples["b"])) == (1, 3)
    assert (reason(samples["a"]), ratio(middle(samples["a"]), 2.0), ratio(1.0, 2.0)) == ("not here", "–", "0.50×")


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_random_whisper_ends_after_as_many_tokens_as_it_says(
    tmp_path_factory: pytest.TempPathFactory, temperature: float
) -> None:
    from ctranslate2 import StorageView
    from ctranslate2.models import Whisper

    folder: Path = tmp_path_factory.getbasetemp() / "random-whisper"
    whisper = Whisper(str(whisper_files.whisper(folder, "tiny", "int8")), device="cpu")
    noise = StorageView.from_array(np.random.default_rng(0).normal(0, 0.2, (2, 80, 3000)).astype(np.float32))
    prompts = [["<|startoftranscript|>"] * whisper_files.PROMPT] * 2
    written = whisper.generate(noise, prompts, beam_size=1, sampling_temperature=temperature, sampling_topk=0)
    assert [len(each.sequences_ids[0]) for each in written] == [whisper_files.TOKENS] * 2
