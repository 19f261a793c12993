"""The verbs about space, repair and other tools: exit codes, what they print, what they leave."""

import json
import os
import time
from pathlib import Path

import pytest
from cli_helpers import Ran, run_cli
from hub_stand_in import COMMIT, Hub, serving
from store_helpers import write_model

from model_store import NodeCache, open_store
from model_store.cli.common import SECTIONS, app

KIND = ("--kind", "whisper-ct2")


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models of 10,100 bytes, of which they share 100, published and fetched."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAYSCRIBE_CACHE_QUOTA", raising=False)
    for name in ("a", "b"):
        write_model(tmp_path / name, {"own.bin": name.encode() * 10_000, "shared": b"s" * 100})
        assert run_cli("publish", name, "--from", f"directory:{tmp_path / name}", *KIND).code == 0
        assert run_cli("fetch", name).code == 0


def ok(*arguments: object) -> Ran:
    done = run_cli(*arguments)
    assert done.code == 0, done.err
    return done


def cached() -> set[str]:
    return {one["model"] for one in ok("du", "--json").json()["snapshots"]}


def test_du_tells_what_takes_the_space() -> None:
    ok("pin", "a")
    with NodeCache(".rayscribe/cache").hold(ok("path", "b", "--json").json()["digest"]):
        told = ok("du", "--quota", "30kB")
        found = ok("du", "--json").json()
    lines = told.out.splitlines()
    assert lines[0].split() == ["MODEL", "DIGEST", "SIZE", "UNIQUE", "USED", "KEPT"]
    by_model = {line.split()[0]: line for line in lines[1:3]}
    assert "10.1 kB  10.0 kB  just now  pinned" in by_model["a@v1"]
    assert f"pid {os.getpid()}" in by_model["b@v1"]
    assert lines[3].startswith("20.1 kB of 30.0 kB used, ")
    assert (found["used_bytes"], found["orphaned_bytes"], found["quota_bytes"]) == (20_100, 0, None)
    assert {(one["model"], one["unique_bytes"], one["shared_bytes"]) for one in found["snapshots"]} == {
        ("a@v1", 10_000, 100),
        ("b@v1", 10_000, 100),
    }


def test_a_quota_evicts_and_pins_protect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "c", {"own.bin": b"c" * 10_000})
    ok("publish", "c", "--from", f"directory:{tmp_path / 'c'}", *KIND)
    ok("pin", "a@v1")
    refused = run_cli("fetch", "c", "--quota", "20kB", "--json")
    assert (refused.code, refused.json()["error"], refused.json()["needed"]) == (4, "CacheFull", 10_000)
    assert cached() == {"a@v1", "b@v1"}
    monkeypatch.setenv("RAYSCRIBE_CACHE_QUOTA", "25kB")
    ok("fetch", "c")
    assert cached() == {"a@v1", "c@v1"}
    assert ok("unpin", "a", "--json").json()["pinned"] is False
    ok("fetch", "b")
    assert cached() == {"b@v1", "c@v1"}


def test_a_wrong_quota_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_cli("fetch", "a", "--quota", "much").code == 2
    monkeypatch.setenv("RAYSCRIBE_CACHE_QUOTA", "50 gigs")
    refused = run_cli("fetch", "a")
    assert (refused.code, "'50 gigs' is not a size" in refused.err) == (2, True)


def test_rm_and_gc_of_the_store() -> None:
    assert "a@v1" in ok("rm", "a@latest").out
    assert "will free 10.0 kB" in ok("rm", "a@v1").out
    assert run_cli("rm", "a").code == 3
    assert ok("gc").out == "Removed nothing: 0 B\n"
    would = ok("gc", "--grace", "0", "--dry-run")
    assert would.out == "Would remove 1 manifests, 1 blobs: 10.0 kB\n"
    done = ok("gc", "--grace", "0", "--json").json()
    assert (len(done["manifests"]), len(done["blobs"]), done["bytes"], done["dry_run"]) == (1, 1, 10_000, False)
    assert ok("verify", "--deep").out == "All is as it must be.\n"
    assert len(ok("rm", "b", "--all-tags", "--json").json()["refs"]) == 2
    assert run_cli("gc", "--grace", "-1").code == 2


def test_gc_of_a_damaged_store_needs_force() -> None:
    digest = open_store(".rayscribe/store").read_ref("a", "v1")
    Path(f".rayscribe/store/manifests/{digest}.json").write_text("{}")
    assert run_cli("gc").code == 4
    ok("gc", "--force")


def test_rm_and_gc_of_the_cache() -> None:
    ok("pin", "a")
    refused = run_cli("rm", "a", "--cached")
    assert (refused.code, "model-store unpin a@v1" in refused.err) == (4, True)
    assert "10.0 kB freed" in ok("rm", "a", "--cached", "--force").out
    assert cached() == {"b@v1"}
    assert run_cli("rm", "a", "--cached").code == 3
    assert [one["model"] for one in ok("rm", "b", "--cached", "--json").json()] == ["b@v1"]
    orphan = Path(".rayscribe/cache/blobs/sha256/ff") / ("f" * 64)
    write_model(orphan.parent, {orphan.name: b"x" * 500})
    assert "500 B in 1 blobs of no snapshot" in ok("du").out
    assert ok("gc", "--cached").out == "Removed nothing: 0 B\n"
    time.sleep(0.01)  # file times are coarser than clocks
    assert ok("gc", "--cached", "--grace", "0").out == "Removed 1 blobs: 500 B\n"
    assert not orphan.exists()


def test_path_asks_no_store() -> None:
    Path(".rayscribe/store").rename("away")
    found = Path(ok("path", "a").out.strip())
    assert (found / "own.bin").read_bytes() == b"a" * 10_000
    assert ok("path", f"a@sha256:{found.name}", "--json").json()["path"] == str(found)
    assert ok("path", "a@v1").out.strip() == str(found)
    refused = run_cli("path", "c")
    assert (refused.code, "model-store fetch c" in refused.err, "a@v1, b@v1" in refused.err) == (3, True, True)
    assert run_cli("path", "a@v2").code == 3
    (found / "own.bin").unlink()
    assert run_cli("path", "a").code == 3


def test_repair_of_the_store_and_of_the_cache() -> None:
    found = Path(ok("path", "a").out.strip())
    assert ok("repair", "a").out == ok("repair", "a", "--cached").out == "All was as it must be.\n"
    (found / "own.bin").chmod(0o644)
    (found / "own.bin").write_bytes(b"x" * 10_000)
    assert run_cli("verify", "--cached", "--deep").code == 1
    assert ok("repair", "a", "--cached").out == "a@v1: own.bin: repaired\n"
    assert run_cli("verify", "--cached", "--deep").code == 0
    entry = next(file for file in ok("show", "a", "--json").json()["files"] if file["path"] == "own.bin")
    Path(f".rayscribe/store/blobs/sha256/{entry['sha256'][:2]}/{entry['sha256']}").unlink()
    assert "repair" in run_cli("verify").err
    assert ok("repair", "a", "--json").json() == [{"model": "a@v1", "path": "own.bin"}]
    assert run_cli("verify", "--deep").code == 0
    assert run_cli("repair", "c").code == 3


def test_copy_to_another_store(tmp_path: Path) -> None:
    assert "latest, v1  10.1 kB copied" in ok("copy", "a", "--to", tmp_path / "other").out
    assert "was there already" in ok("copy", "a", "--to", tmp_path / "other").out
    both = ok("copy", "*", "--to", tmp_path / "other", "--json").json()
    assert {(one["name"], one["copied_bytes"]) for one in both} == {("a", 0), ("b", 10_000)}
    ok("verify", "--deep", "--store", tmp_path / "other")
    assert run_cli("copy", "c", "--to", tmp_path / "other").code == 3


def test_doctor_fails_only_for_what_cannot_work(tmp_path: Path) -> None:
    done = ok("doctor")
    assert any(line.startswith("ok    store: ") for line in done.out.splitlines())
    failed = run_cli("doctor", "--store", tmp_path / "nowhere")
    assert (failed.code, failed.err) == (1, "1 failed: store\n")
    assert "mount the volume" in failed.out
    findings = json.loads(run_cli("doctor", "--store", tmp_path / "nowhere", "--json").out)
    assert [one["state"] for one in findings if one["name"] == "store"] == ["fail"]


def test_hub_view_and_outdated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants, snapshot_download

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    assert run_cli("hub-view", "a", "--to", tmp_path / "view").code == 2
    assert run_cli("hub-view", "m", "--to", tmp_path / "view").code == 3
    with serving(Hub(files={"model.bin": b"m" * 99}, large={"model.bin"})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        ok("publish", "m", "--from", "hub:org/model", *KIND)
        assert ok("outdated").out.splitlines()[1].split() == ["m", "org/model", COMMIT[:12], COMMIT[:12], "current"]
        assert ok("outdated", "m", "--json").json()[0]["outdated"] is False
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    unreachable = run_cli("outdated")
    assert (unreachable.code, "Check the network" in unreachable.err) == (4, True)
    ok("fetch", "m")
    shown = ok("hub-view", "m", "--to", tmp_path / "view").out.strip()
    assert snapshot_download("org/model", cache_dir=tmp_path / "view", local_files_only=True) == shown


def test_help_lists_every_verb_below_a_heading() -> None:
    text = ok("--help").out
    at = [text.index(f"\n{heading}:\n") for heading in SECTIONS]
    assert at == sorted(at)
    verbs = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    assert all(f"\n  {verb} " in text for verb in verbs)
    order = [text.index(f"\n  {verb} ") for verb in ("publish", "list", "show", "fetch", "path", "verify", "repair")]
    assert order == sorted(order)
