"""Publishing from buckets and web servers: whole files or a clear error, and nothing fetched twice."""

import hashlib
import io
import os
import signal
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import pytest
from s3_stand_in import S3, Stored, serving_s3
from store_backends import s3_environment
from store_helpers import INFO, in_child
from web_stand_in import Web, serving_web

from model_store import (
    DirectoryStore,
    ModelStoreError,
    Published,
    SourceCorrupt,
    SourceError,
    SourceNotFound,
    SourceUnreachable,
    UnsafePath,
    UsageError,
    parse_source,
    publish,
    verify,
)
from model_store.sources import downloads, objects
from model_store.sources.torchaudio import BUNDLES
from model_store.stores.object_opening import Patience

BIG = bytes(range(256)) * 20_000
QUICK = Patience(connect_s=2, stall_s=1, retries=0, retry_for_s=3, wait_s=0.01)
CHILD = """
import sys
from model_store import parse_source
parse_source(sys.argv[1], allow=("model.bin",)).collect()
"""


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(objects, "PATIENCE", QUICK)
    monkeypatch.setattr("model_store.sources.nltk_data.PATIENCE", QUICK)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    return tmp_path / "tmp"


@pytest.fixture
def web() -> Iterator[Web]:
    with serving_web(Web(files={"base/model.bin": BIG, "base/config.json": b"{}", "base/empty": b""})) as web:
        yield web


@pytest.fixture
def target(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def publish_from(spec: str, target: DirectoryStore, *allow: str) -> Published:
    return publish(parse_source(spec, allow=allow), "m", target, "v1", INFO)


def held(target: DirectoryStore, published: Published) -> dict[str, bytes]:
    """The bytes of a published model, by path."""
    return {entry.path: target.read_blob(entry.sha256, 0, entry.size) for entry in published.manifest.files}


def left(scratch: Path) -> list[Path]:
    return [path for path in scratch.rglob("*") if path.is_file()]


def bytes_in(scratch: Path) -> int:
    """Count what a child is writing; a file that it renames or removes meanwhile counts nothing."""
    total = 0
    for path in left(scratch):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def test_named_files_are_published(web: Web, target: DirectoryStore, scratch: Path) -> None:
    done = publish_from(f"{web.url}/base", target, "model.bin", "config.json", "empty")
    assert held(target, done) == {"model.bin": BIG, "config.json": b"{}", "empty": b""}
    assert done.manifest.source.url == f"{web.url}/base"
    assert left(scratch) == []
    assert publish_from(f"{web.url}/base", target, "empty", "config.json", "model.bin").reused


def test_address_of_one_file_needs_no_list(web: Web, target: DirectoryStore) -> None:
    done = publish_from(f"{web.url}/base/config.json#sha256={hashlib.sha256(b'{}').hexdigest()}", target)
    assert held(target, done) == {"config.json": b"{}"}
    assert done.manifest.source.url == f"{web.url}/base"


def test_promised_bytes_are_checked(web: Web, target: DirectoryStore) -> None:
    with pytest.raises(SourceCorrupt, match=r"model\.bin is damaged: the source promises"):
        publish_from(f"{web.url}/base", target, f"model.bin#sha256={'a' * 64}")
    with pytest.raises(UsageError, match="does not end in a sha256"):
        publish_from(f"{web.url}/base", target, "model.bin#sha256=abc")


@pytest.mark.parametrize("allow", ["*.bin", "mod?l.bin", "../x", "/etc/passwd"])
def test_patterns_and_unsafe_names_are_refused(web: Web, target: DirectoryStore, allow: str) -> None:
    with pytest.raises((UsageError, UnsafePath), match=r"Name each file|safe path"):
        publish_from(f"{web.url}/base", target, allow)
    with pytest.raises(UsageError, match="No file is named"):
        publish_from(web.url, target)


@pytest.mark.parametrize("etags", [True, False])
def test_cut_download_goes_on_where_it_was(web: Web, target: DirectoryStore, etags: bool) -> None:
    web.etags = etags
    web.cut = {"base/model.bin": [3_000_000, 1_000_000]}
    done = publish_from(f"{web.url}/base", target, "model.bin")
    assert held(target, done) == {"model.bin": BIG}
    asked = [int(request.partition("bytes=")[2].split("-")[0] or 0) for request in web.requests]
    assert asked[0] == 0
    assert 2_000_000 <= asked[1] <= 3_000_000
    assert asked[2] > asked[1]


def test_server_without_ranges_is_asked_for_all_again(web: Web, target: DirectoryStore) -> None:
    web.ranges = False
    web.cut = {"base/model.bin": [3_000_000]}
    assert held(target, publish_from(f"{web.url}/base", target, "model.bin")) == {"model.bin": BIG}


@pytest.mark.parametrize("change", [b"x" * len(BIG), BIG + b"more", BIG[:3_500_000]])
def test_file_that_changed_since_the_cut_is_begun_anew(
    web: Web, target: DirectoryStore, monkeypatch: pytest.MonkeyPatch, change: bytes
) -> None:
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    web.cut = {"base/model.bin": [3_000_000]}
    with pytest.raises(SourceCorrupt, match="ends too early"):
        publish_from(f"{web.url}/base", target, "model.bin")
    web.files["base/model.bin"] = change
    assert held(target, publish_from(f"{web.url}/base", target, "model.bin")) == {"model.bin": change}


def test_download_that_never_ends_is_given_up(web: Web, target: DirectoryStore) -> None:
    web.cut = {"base/model.bin": [0] * 100}
    with pytest.raises(SourceUnreachable, match=r"model\.bin: The source at .* cannot be reached"):
        publish_from(f"{web.url}/base", target, "model.bin")
    web.cut = {"base/model.bin": [1_000_000, 100_000, 100_000, 100_000, 100_000, 100_000]}
    with pytest.raises(SourceCorrupt, match=rf"ends too early: \d+ of {len(BIG)} bytes, 5 times"):
        publish_from(f"{web.url}/base", target, "model.bin")
    assert not (target.root / "refs").exists()


def test_killed_download_is_taken_over(web: Web, target: DirectoryStore, scratch: Path) -> None:
    web.stall_after = 3_000_000
    child = in_child(CHILD, f"{web.url}/base")
    deadline = time.monotonic() + 30
    while bytes_in(scratch) < 2_000_000:
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    web.stall_after = None
    child.send_signal(signal.SIGKILL)
    child.wait()
    web.requests.clear()
    assert held(target, publish_from(f"{web.url}/base", target, "model.bin")) == {"model.bin": BIG}
    first = int(web.requests[0].partition("bytes=")[2].split("-")[0])
    assert 2_000_000 <= first <= 3_000_000
    assert left(scratch) == []


def test_what_another_is_at_is_not_touched(web: Web, target: DirectoryStore, scratch: Path) -> None:
    first = parse_source(f"{web.url}/base", allow=("model.bin",)).collect()
    second = parse_source(f"{web.url}/base", allow=("model.bin",)).collect()
    assert first.files["model.bin"] != second.files["model.bin"]
    second.discard()
    assert first.files["model.bin"].read_bytes() == BIG
    first.discard()
    assert left(scratch) == []


def test_finished_files_of_a_failed_publish_are_not_fetched_again(web: Web, target: DirectoryStore) -> None:
    with pytest.raises(SourceNotFound, match=r"has no nothing\.bin"):
        publish_from(f"{web.url}/base", target, "model.bin", "nothing.bin")
    web.requests.clear()
    publish_from(f"{web.url}/base", target, "model.bin")
    assert web.requests == ["HEAD base/model.bin"]


def test_place_of_another_user_is_not_used(web: Web, target: DirectoryStore, scratch: Path, tmp_path: Path) -> None:
    (tmp_path / "trap").mkdir()
    (scratch / f"rayscribe-downloads-{os.getuid()}").symlink_to(tmp_path / "trap")
    assert held(target, publish_from(f"{web.url}/base", target, "config.json")) == {"config.json": b"{}"}
    assert list((tmp_path / "trap").iterdir()) == []


@pytest.mark.parametrize(("status", "words"), [(403, "answers 403"), (500, "answers 500"), (429, "answers 429")])
def test_refusing_servers_are_named(web: Web, target: DirectoryStore, status: int, words: str) -> None:
    web.fail = [status] * 20
    with pytest.raises(SourceUnreachable, match=f"config.json: The source at {web.url}/base {words}"):
        publish_from(f"{web.url}/base", target, "config.json")


def test_absent_server_is_named(target: DirectoryStore) -> None:
    with pytest.raises(SourceUnreachable, match=r"127\.0\.0\.1:9/x cannot be reached: connection refused"):
        publish_from("http://127.0.0.1:9/x", target, "a")


@pytest.fixture
def s3() -> Iterator[S3]:
    with serving_s3(S3()) as s3, s3_environment(s3):
        yield s3


def test_bucket_is_published(s3: S3, target: DirectoryStore, scratch: Path) -> None:
    there = {"a.json": b"{}", "sub/model.bin": BIG, "empty": b"", "x.h5": b"no", ".hidden/x.json": b"no"}
    s3.objects = {f"some/where/{path}": Stored(data) for path, data in there.items()} | {"some/other": Stored(b"no")}
    s3.objects["some/where/sub/"] = Stored(b"")
    s3.cut = {"some/where/sub/model.bin": 2_000_000}
    done = publish_from("s3://models/some/where/", target, "*.json", "sub/*", "empty")
    assert held(target, done) == {path: there[path] for path in ("a.json", "sub/model.bin", "empty")}
    assert done.manifest.source.url == "s3://models/some/where"
    assert left(scratch) == []
    assert verify(target) == []


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda s3: s3.objects.clear(), SourceNotFound, "holds no object"),
        (lambda s3: setattr(s3, "bucket", "another"), SourceUnreachable, "no bucket models"),
        (lambda s3: setattr(s3, "secret", "another"), SourceUnreachable, "AWS_SECRET_ACCESS_KEY"),
        (lambda s3: setattr(s3, "fail", [(503, "SlowDown")] * 9), SourceUnreachable, "503"),
        (lambda s3: s3.objects.update({"some/a\nb": Stored(b"")}), SourceUnreachable, "name is no path"),
        (lambda s3: s3.objects.update({"some/a:/b": Stored(b"")}), UnsafePath, "safe path"),
    ],
)
def test_failing_buckets_are_named(
    s3: S3, target: DirectoryStore, change: Callable[[S3], object], kind: type[ModelStoreError], words: str
) -> None:
    s3.objects["some/a"] = Stored(b"a")
    change(s3)
    with pytest.raises(kind, match=words):
        publish_from("s3://models/some", target)


def test_bundles_are_those_that_whisperx_uses_and_torchaudio_loads() -> None:
    from importlib.metadata import distribution

    aligners = Path(str(distribution("whisperx").locate_file("whisperx/alignment.py"))).read_text()
    names = aligners.partition("DEFAULT_ALIGN_MODELS_TORCH = {")[2].partition("}")[0].split('"')[3::4]
    assert sorted(names) == sorted(BUNDLES)
    bundles = Path(str(distribution("torchaudio").locate_file("torchaudio/pipelines/_wav2vec2/impl.py"))).read_text()
    for name, file in BUNDLES.items():
        assert bundles.partition(f"\n{name} = Wav2Vec2ASRBundle(\n")[2].split('"')[1] == file


def test_torchaudio_bundle_is_published(web: Web, target: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSCRIBE_TORCHAUDIO_URL", f"{web.url}/mirror/")
    web.files["mirror/wav2vec2_fairseq_base_ls960_asr_ls960.pth"] = b"PK\x03\x04weights"
    done = publish_from("torchaudio:WAV2VEC2_ASR_BASE_960H", target)
    assert held(target, done) == {"wav2vec2_fairseq_base_ls960_asr_ls960.pth": b"PK\x03\x04weights"}
    assert done.manifest.source.url == "torchaudio:WAV2VEC2_ASR_BASE_960H"
    assert done.manifest.pickle
    with pytest.raises(UsageError, match="VOXPOPULI_ASR_BASE_10K_DE"):
        parse_source("torchaudio:WAV2VEC2")


def archive(*members: tuple[str | ZipInfo, bytes]) -> bytes:
    made = io.BytesIO()
    with ZipFile(made, "w") as opened:
        for name, data in members:
            opened.writestr(name, data)
    return made.getvalue()


def serve_punkt(web: Web, packed: bytes, **wrong: str) -> None:
    """An nltk mirror with one package; `wrong` changes what its index says."""
    said = {
        "id": "punkt_tab",
        "subdir": "tokenizers",
        "size": str(len(packed)),
        "checksum": hashlib.md5(packed).hexdigest(),
        "sha256_checksum": hashlib.sha256(packed).hexdigest(),
        **wrong,
    }
    attributes = " ".join(f'{name}="{value}"' for name, value in said.items() if value)
    web.files["nltk/index.xml"] = f"<nltk_data><packages><package {attributes}/></packages></nltk_data>".encode()
    web.files["nltk/packages/tokenizers/punkt_tab.zip"] = packed


PUNKT = archive(
    ("punkt_tab/README", b"readme"),
    ("punkt_tab/english/", b""),
    ("punkt_tab/english/a.txt", b"en"),
    ("punkt_tab/english/empty.tab", b""),
    ("punkt_tab/german/a.txt", b"de"),
)
ENGLISH = {"tokenizers/punkt_tab/english/a.txt": b"en", "tokenizers/punkt_tab/english/empty.tab": b""}
GERMAN = {"tokenizers/punkt_tab/german/a.txt": b"de"}


@pytest.fixture
def nltk(web: Web, monkeypatch: pytest.MonkeyPatch) -> Web:
    monkeypatch.setenv("RAYSCRIBE_NLTK_URL", f"{web.url}/nltk")
    serve_punkt(web, PUNKT)
    return web


@pytest.mark.parametrize(
    ("allow", "wanted"),
    [
        (("english",), ENGLISH),
        (("english", "german"), ENGLISH | GERMAN),
        (("*/german/*",), GERMAN),
        ((), ENGLISH | GERMAN | {"tokenizers/punkt_tab/README": b"readme"}),
    ],
)
def test_sentence_tables_are_published(
    nltk: Web, target: DirectoryStore, scratch: Path, allow: tuple[str, ...], wanted: dict[str, bytes]
) -> None:
    done = publish_from("nltk:punkt_tab", target, *allow)
    assert held(target, done) == wanted
    assert done.manifest.source.url == "nltk:punkt_tab"
    assert left(scratch) == []


def test_old_index_knows_md5(nltk: Web, target: DirectoryStore) -> None:
    serve_punkt(nltk, PUNKT, sha256_checksum="")
    assert held(target, publish_from("nltk:punkt_tab", target, "english")) == ENGLISH


@pytest.mark.parametrize(
    "wrong", [{"sha256_checksum": "0" * 64}, {"sha256_checksum": "", "checksum": "0" * 32}, {"size": "7"}]
)
def test_package_that_is_not_the_promised_one_is_refused(
    nltk: Web, target: DirectoryStore, wrong: dict[str, str]
) -> None:
    serve_punkt(nltk, PUNKT, **wrong)
    with pytest.raises(SourceCorrupt, match="is damaged: the index promises"):
        publish_from("nltk:punkt_tab", target, "english")
    serve_punkt(nltk, PUNKT)
    assert held(target, publish_from("nltk:punkt_tab", target, "english")) == ENGLISH


def link(name: str, kind: int) -> ZipInfo:
    made = ZipInfo(name)
    made.create_system = 3
    made.external_attr = (kind | 0o777) << 16
    return made


@pytest.mark.parametrize(
    "member",
    [
        "punkt_tab/../../x",
        "../x",
        "/etc/x",
        "punkt_tab/english\\x",
        "C:/x",
        link("punkt_tab/english/l", stat.S_IFLNK),
        link("punkt_tab/english/p", stat.S_IFIFO),
    ],
)
def test_unsafe_members_are_refused(nltk: Web, target: DirectoryStore, scratch: Path, member: str | ZipInfo) -> None:
    serve_punkt(nltk, archive(("punkt_tab/english/a.txt", b"en"), (member, b"/etc/passwd")))
    with pytest.raises(UnsafePath):
        publish_from("nltk:punkt_tab", target, "english")
    assert not [path for path in left(scratch) if path.name in ("x", "l", "p", "a.txt")]


def test_archive_that_lies_about_its_sizes_is_refused(
    nltk: Web, target: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_store.sources.nltk_data.MOST_BYTES", 3)
    with pytest.raises(SourceCorrupt, match="unpacks to more than 3 bytes"):
        publish_from("nltk:punkt_tab", target)
    serve_punkt(nltk, b"not a zip")
    with pytest.raises(SourceCorrupt, match="cannot be unpacked"):
        publish_from("nltk:punkt_tab", target)


@pytest.mark.parametrize(
    ("index", "kind", "words"),
    [
        (b"<html>no", SourceCorrupt, "not nltk's index"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><x/>', SourceCorrupt, "declares no entities"),
        (b"<nltk_data/>", SourceNotFound, "has no package punkt_tab"),
        (None, SourceNotFound, r"has no index\.xml"),
    ],
)
def test_wrong_mirrors_are_named(
    nltk: Web, target: DirectoryStore, index: bytes | None, kind: type[SourceError], words: str
) -> None:
    nltk.files.pop("nltk/index.xml")
    if index is not None:
        nltk.files["nltk/index.xml"] = index
    with pytest.raises(kind, match=words):
        publish_from("nltk:punkt_tab", target, "english")


def test_language_that_is_not_there_is_named(nltk: Web, target: DirectoryStore) -> None:
    with pytest.raises(SourceNotFound, match="holds nothing of klingon"):
        publish_from("nltk:punkt_tab", target, "klingon")
