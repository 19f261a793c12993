"""The command line: one command per need, exit codes as --help says, JSON for programs."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from store_helpers import content, write_model

from model_store.cli import main
from model_store.console import progress_bar

FILES = {"config.json": b"{}", "model.bin": b"weights" * 1000}
CATALOG = """
models:
  demo-a: {kind: whisper-ct2, source: "directory:models/a", licence: MIT, languages: [en], memory_mb: 5}
  demo-b: {kind: wav2vec2-ctc, source: "directory:models/b", licence: MIT}
  other: {kind: wav2vec2-ctc, source: "directory:models/nowhere", licence: MIT}
"""


class Cli:
    """Runs `model-store` in this process, in a directory of its own."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.capsys, self.monkeypatch = root, capsys, monkeypatch
        self.out = self.err = ""

    def __call__(self, *arguments: str) -> int:
        self.monkeypatch.setattr(sys, "argv", ["model-store", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        self.out, self.err = self.capsys.readouterr()
        return int(caught.value.code or 0)

    def json(self, *arguments: str) -> Any:
        self(*arguments, "--json")
        return json.loads(self.out)


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    for name in ("a", "b"):
        write_model(tmp_path / "models" / name, {**FILES, "which": name.encode()})
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/models.yaml").write_text(CATALOG)
    monkeypatch.chdir(tmp_path)
    return Cli(tmp_path, capsys, monkeypatch)


@pytest.mark.parametrize("arguments", [["demo-*"], ["--all-demo"], ["demo-a", "demo-b", "demo-a"]])
def test_all_demo_models_are_one_command(cli: Cli, arguments: list[str]) -> None:
    assert cli("publish", *arguments) == 0
    assert [line.split()[0] for line in cli.out.splitlines()] == ["demo-a@v1", "demo-b@v1"]
    assert (cli.root / ".rayscribe/store/refs/demo-a/latest").exists()
    again = cli.json("publish", *arguments)
    assert [(one["name"], one["reused"], one["uploaded_bytes"]) for one in again] == [
        ("demo-a", True, 0),
        ("demo-b", True, 0),
    ]


def test_fetch_prints_the_path_and_nothing_else(cli: Cli) -> None:
    cli("publish", "demo-a")
    assert cli("fetch", "demo-a") == 0
    path = Path(cli.out.strip())
    assert content(path) == {**FILES, "which": b"a"}
    assert path.parents[1] == cli.root / ".rayscribe/cache"
    warm = cli.json("fetch", "demo-a@v1")
    assert (warm["path"], warm["source"], warm["fetched_bytes"]) == (str(path), "cache", 0)
    assert set(warm["timings"]) == {"resolve_s", "fetch_s", "verify_s"}


def test_places_come_from_the_environment(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSCRIBE_STORE", str(cli.root / "s"))
    monkeypatch.setenv("RAYSCRIBE_CACHE", str(cli.root / "c"))
    cli("publish", "demo-a")
    cli("fetch", "demo-a")
    assert Path(cli.out.strip()).parents[1] == cli.root / "c"
    assert (cli.root / "s/refs/demo-a/v1").exists()


def test_list_and_show(cli: Cli) -> None:
    cli("publish", "demo-*")
    assert cli("list") == 0
    assert [line.split()[0] for line in cli.out.splitlines()[1:]] == [
        f"demo-{name}@{tag}" for name in "ab" for tag in ("latest", "v1")
    ]
    listed = cli.json("list")
    assert {(one["name"], one["tag"], one["kind"]) for one in listed} >= {("demo-a", "latest", "whisper-ct2")}
    shown = cli.json("show", "demo-a")
    assert [file["path"] for file in shown["files"]] == sorted([*FILES, "which"])
    assert cli("show", f"demo-a@sha256:{shown['digest']}") == 0
    assert "model.bin" in cli.out


def test_damaged_manifest_hides_no_other(cli: Cli) -> None:
    digests = {one["name"]: one["digest"] for one in cli.json("publish", "demo-*")}
    (cli.root / ".rayscribe/store/manifests" / f"{digests['demo-a']}.json").write_text("{}")
    assert cli("list") == 0
    assert cli.out.count("damaged") == 2
    assert cli.json("list")[0] == {"name": "demo-a", "tag": "latest", "digest": digests["demo-a"], "damaged": True}
    assert cli("show", "demo-a") == 4
    assert cli("show", "demo-b") == 0
    assert cli("verify") == 1
    assert cli("publish", "demo-a") == 0
    assert cli("verify") == 0


def test_verify_finds_and_names_what_is_wrong(cli: Cli) -> None:
    cli("publish", "demo-a")
    assert cli("verify", "--deep") == 0
    file = next(file for file in cli.json("show", "demo-a")["files"] if file["path"] == "model.bin")
    blob = cli.root / f".rayscribe/store/blobs/sha256/{file['sha256'][:2]}/{file['sha256']}"
    blob.chmod(0o644)
    blob.write_bytes(bytes(file["size"]))
    assert cli("verify") == 0
    assert cli("verify", "--deep") == 1
    assert "model.bin" in cli.out
    assert "model-store publish" in cli.err
    assert [problem["path"] for problem in cli.json("verify", "demo-a", "--deep")] == ["model.bin"]
    assert cli("fetch", "demo-a") == 4
    assert cli("publish", "demo-a") == 0
    assert cli("verify", "--deep") == 0
    cli("fetch", "demo-a")
    assert cli("verify", "--cached", "--deep") == 0


def test_from_publishes_what_no_catalog_knows(cli: Cli) -> None:
    origin = f"directory:{cli.root / 'models/a'}"
    assert cli("publish", "mine/own", "--from", origin) == 2
    assert "--kind" in cli.err
    assert cli("publish", "mine/own", "--from", origin, "--kind", "whisper-ct2", "--revision", "r7") == 0
    assert cli.json("show", "mine/own@r7")["kind"] == "whisper-ct2"
    assert cli("publish", "demo-a", "--from", f"directory:{cli.root / 'models/b'}") == 0
    assert cli.json("show", "demo-a")["memory_mb"] == 5


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["publish"], 2, "demo-*"),
        (["publish", "demo-aa"], 2, "Did you mean demo-a"),
        (["publish", "demo-a", "--catalog", "nowhere.yaml"], 2, "--catalog"),
        (["publish", "a", "b", "--from", "directory:models/a"], 2, "one name"),
        (["publish", "other"], 4, "nowhere"),
        (["publish", "demo-a", "--store", "gopher://bucket"], 2, "gopher://"),
        (["fetch", "demo-b"], 3, "model-store publish demo-b"),
        (["fetch", "demo-b@"], 2, "name@tag"),
        (["show", "demo-z"], 3, "holds: demo-a"),
        (["fetch", "demo-a", "--store", "nowhere"], 4, "RAYSCRIBE_STORE"),
        (["verify", "demo-q"], 3, "Did you mean demo-a"),
        (["verify", "demo-a", "--cached"], 3, "model-store fetch demo-a"),
        (["frobnicate"], 2, "frobnicate"),
    ],
)
def test_exit_codes_and_errors(cli: Cli, arguments: list[str], code: int, words: str) -> None:
    cli("publish", "demo-a")
    assert cli(*arguments) == code
    assert words in cli.err
    assert "Traceback" not in cli.err


def test_errors_are_json_too(cli: Cli) -> None:
    cli("publish", "demo-a")
    assert cli("fetch", "demo-q", "--json") == 3
    error = json.loads(cli.out)
    assert (error["error"], error["published"]) == ("NotPublished", ["demo-a"])
    assert "model-store publish demo-q" in error["mend"]


def test_bar_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar("demo-a", quiet=True) as progress:
        progress(5_000_000, 10_000_000)
    assert terminal.getvalue() == ""
    with progress_bar("demo-a", quiet=False) as progress:
        progress(5_000_000, 10_000_000)
    assert "demo-a" in terminal.getvalue()
    assert "5.0/10.0 MB" in terminal.getvalue()


class Terminal(io.StringIO):
    """Standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_help_tells_exit_codes_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['model-store', '--help']\n"
        "from model_store.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'huggingface_hub', 'requests', 'httpx', 'ray', 'torch', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": root}, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert "3  not published" in done.stdout
