"""Bundles: the same bytes each time, whole or refused, in little memory, and nothing half-visible."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_helpers import run_cli
from store_helpers import FILES, INFO, blob_of, content, in_child, publish_directory, write_model

from model_store import (
    BadReference,
    BundleError,
    CorruptBlob,
    DirectoryStore,
    NodeCache,
    NotPublished,
    NotTrusted,
    Published,
    SourceNotFound,
    UsageError,
    fetch,
    parse_source,
    publish,
    verify,
)
from model_store.bundle import export_bundle, import_bundle
from model_store.bundle.layout import END, INDEX, Index, Member, header, padding
from model_store.trust.policy import TrustPolicy
from model_store.trust.signing import PublicKey, check_signature, make_keys, sign
from tests.namespaces import alone


@pytest.fixture
def target(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "target")


@pytest.fixture
def bundle(tmp_path: Path, store: DirectoryStore, published: Published) -> Path:
    """One model, published twice under two tags."""
    store.write_signature(published.digest, sign(published.manifest, make_keys().private_pem))
    export_bundle(["demo-whisper"], store, tmp_path / "demo.tar")
    return tmp_path / "demo.tar"


def bring(bundle: Path, target: DirectoryStore) -> None:
    with bundle.open("rb") as file:
        import_bundle(file, target, name=str(bundle))


def visible(target: DirectoryStore) -> tuple[int, int]:
    """How many refs and manifests can be seen."""
    return (len(target.list_refs()), len(target.list_manifests())) if target.root.exists() else (0, 0)


def rebuilt(bundle: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> Path:
    """The bundle again, with its members changed and its index as it was."""
    with tarfile.open(bundle) as tar:
        members = [(info, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]
    change(members)
    with tarfile.open(bundle, "w", format=tarfile.USTAR_FORMAT) as tar:
        for info, raw in members:
            tar.addfile(info, io.BytesIO(raw))
    return bundle


def made(path: Path, members: dict[str, bytes], index: Index | None = None) -> Path:
    """A bundle of these members, with an index that fits them."""
    listed = [Member(path=p, size=len(raw), sha256=hashlib.sha256(raw).hexdigest()) for p, raw in members.items()]
    raw = (index or Index(members=tuple(listed))).canonical()
    parts = [(INDEX, raw), *members.items()]
    body = b"".join(header(p, len(raw)) + raw + bytes(padding(len(raw))) for p, raw in parts)
    path.write_bytes(body + END)
    return path


def members_of(bundle: Path) -> dict[str, bytes]:
    with tarfile.open(bundle) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar if info.name != INDEX}  # type: ignore[union-attr]


def test_round_trip_is_the_same_bytes(tmp_path: Path, store: DirectoryStore, target: DirectoryStore) -> None:
    for name in ("demo-whisper", "team/other"):
        publish_directory(write_model(tmp_path / name, {**FILES, "name": name.encode()}), store, name)
    first = export_bundle(["demo-*", "team/other", "demo-whisper"], store, tmp_path / "a.tar")
    assert first.size == (tmp_path / "a.tar").stat().st_size
    assert [(ref.name, ref.tag) for ref in first.refs] == [
        (name, tag) for name in ("demo-whisper", "team/other") for tag in ("latest", "v1")
    ]
    with (tmp_path / "a.tar").open("rb") as file:
        imported = import_bundle(file, target)
    assert imported.refs == first.refs
    assert verify(target) == []
    assert content(target.root) == {p: raw for p, raw in content(store.root).items() if p != "reads"}
    export_bundle(["team/other", "demo-whisper"], target, tmp_path / "b.tar")
    assert (tmp_path / "b.tar").read_bytes() == (tmp_path / "a.tar").read_bytes()
    assert (tmp_path / "b.tar").stat().st_mode & 0o777 == 0o644
    assert not (tmp_path / ".bundles").exists()
    with (tmp_path / "b.tar").open("rb") as file:
        assert import_bundle(file, target).written_bytes == 0


def test_unpacked_bundle_is_a_store(tmp_path: Path, bundle: Path, cache: NodeCache) -> None:
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", bundle, "-C", tmp_path / "unpacked"], check=True)  # what an operator would type
    assert content(fetch("demo-whisper", DirectoryStore(tmp_path / "unpacked"), cache).path) == FILES


def test_headers_tell_nothing_of_the_machine(bundle: Path) -> None:
    with tarfile.open(bundle) as tar:
        infos = tar.getmembers()
    assert infos[0].name == INDEX
    assert {(i.mtime, i.uid, i.gid, i.uname, i.gname) for i in infos} == {(0, 0, 0, "", "")}
    assert [info.name.split("/")[0] for info in infos[1:3]] == ["manifests", "signatures"]
    assert [info.name.split("/")[0] for info in infos[-2:]] == ["refs", "refs"]
    assert {info.mode for info in infos if info.name.startswith("blobs")} == {0o444}


def test_names_choose_their_refs(tmp_path: Path, model: Path, store: DirectoryStore, published: Published) -> None:
    def tags(name: str) -> list[str]:
        return [ref.tag for ref in export_bundle([name], store, tmp_path / "x.tar").refs]

    write_model(model, {"more": b"1"})
    newer = publish_directory(model, store, revision="v2")
    assert tags("demo-whisper") == ["latest", "v2"]
    assert tags("demo-whisper@v1") == ["v1"]
    assert tags("demo-whisper@v2") == ["v2"]
    assert tags(f"demo-whisper@sha256:{newer.digest}") == ["latest", "v2"]
    assert tags("demo-*") == ["latest", "v1", "v2"]
    with pytest.raises(NotPublished, match="Did you mean demo-whisper"):
        tags("demo-wisper")
    with pytest.raises(NotPublished, match=r"matches 'x\*'; it holds: demo-whisper"):
        tags("x*")
    with pytest.raises(BadReference):
        tags("../x")


def test_damage_in_the_store_is_not_exported(tmp_path: Path, store: DirectoryStore, published: Published) -> None:
    out = tmp_path / "x.tar"
    out.write_bytes(b"an older bundle")
    blob = blob_of(store, published, "model.bin")
    blob.write_bytes(bytes(blob.stat().st_size))
    with pytest.raises(CorruptBlob, match=r"model\.bin of demo-whisper@v1 is damaged in the store"):
        export_bundle(["demo-whisper"], store, out)
    assert out.read_bytes() == b"an older bundle"
    assert not (tmp_path / ".bundles").exists()


def test_places_that_cannot_be_written_are_named(tmp_path: Path, store: DirectoryStore, published: Published) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BundleError, match=r"file/x\.tar cannot be written"):
        export_bundle(["demo-whisper"], store, tmp_path / "file" / "x.tar")
    store.write_ref("demo-whisper", "t" * 101, published.digest)
    with pytest.raises(UsageError, match="too long for a bundle"):
        export_bundle(["demo-whisper"], store, tmp_path / "x.tar")


def test_every_cut_is_noticed(bundle: Path, target: DirectoryStore) -> None:
    whole = bundle.read_bytes()
    for length in (0, 511, 512, 700, len(whole) // 3, len(whole) // 2, len(whole) - 2000, len(whole) - 512):
        bundle.write_bytes(whole[:length])
        with pytest.raises(BundleError, match="is cut off"):
            bring(bundle, target)
        assert visible(target) == (0, 0)
    bundle.write_bytes(whole)
    bring(bundle, target)
    assert visible(target) == (2, 1)


def test_every_flipped_bit_is_noticed(bundle: Path, target: DirectoryStore) -> None:
    whole = bytearray(bundle.read_bytes())
    with tarfile.open(bundle) as tar:
        places = [info.offset_data for info in tar.getmembers() if info.size]
    for place in (*places, 3, 130):
        whole[place] ^= 1
        bundle.write_bytes(whole)
        with pytest.raises((BundleError, NotTrusted)):
            bring(bundle, target)
        assert visible(target) == (0, 0)
        whole[place] ^= 1


BAD_PATHS = [
    "/etc/passwd",
    "../x",
    "refs/../../x",
    "refs/a/../b",
    "blobs/sha256/00/" + "1" * 64,
    "blobs/sha256/11/" + "G" * 64,
    "staging/x",
    "manifests/x.json",
    "refs/latest",
    "",
]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_paths_that_no_bundle_holds(tmp_path: Path, target: DirectoryStore, path: str) -> None:
    index = Index(members=(Member(path=path, size=1, sha256="0" * 64),))
    with pytest.raises(BundleError, match="which no bundle holds"):
        bring(made(tmp_path / "x.tar", {}, index), target)
    assert not target.root.exists()


def rename(infos: list[tuple[tarfile.TarInfo, bytes]], path: str) -> None:
    infos[-1][0].name = path


def retype(infos: list[tuple[tarfile.TarInfo, bytes]], kind: bytes) -> None:
    infos[-1] = (infos[-1][0], b"")
    infos[-1][0].type, infos[-1][0].linkname, infos[-1][0].size = kind, "/etc/passwd", 0


def more(infos: list[tuple[tarfile.TarInfo, bytes]], path: str) -> None:
    infos.append((tarfile.TarInfo(path), b""))


def grown(infos: list[tuple[tarfile.TarInfo, bytes]], _: str) -> None:
    infos[1] = (infos[1][0], infos[1][1] + b" ")
    infos[1][0].size += 1


@pytest.mark.parametrize(
    ("change", "how", "words"),
    [
        (rename, "/etc/passwd", "'/etc/passwd' of 65 bytes where its index promises refs/demo-whisper/v1"),
        (rename, "refs/demo-whisper/../v1", "where its index promises"),
        (rename, "refs/demo-whisper/v9", "where its index promises"),
        (retype, tarfile.SYMTYPE, "not a plain file"),
        (retype, tarfile.LNKTYPE, "not a plain file"),
        (retype, tarfile.CHRTYPE, "not a plain file"),
        (retype, tarfile.FIFOTYPE, "not a plain file"),
        (retype, tarfile.DIRTYPE, "not a plain file"),
        (retype, tarfile.XHDTYPE, "not a plain file"),
        (retype, tarfile.GNUTYPE_SPARSE, "not a plain file"),
        (more, "refs/demo-whisper/w", "holds more than its index names"),
        (grown, "", "bytes where its index promises"),
    ],
)
def test_members_that_the_index_does_not_promise(
    bundle: Path, target: DirectoryStore, change: Callable[..., None], how: object, words: str
) -> None:
    with pytest.raises(BundleError, match=words):
        bring(rebuilt(bundle, lambda infos: change(infos, how)), target)
    assert visible(target) == (0, 0)


def without(path: str) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda members: {p: raw for p, raw in members.items() if not p.startswith(path)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("blobs"), "does not hold the very blobs"),
        (without("manifests"), "does not hold the very blobs"),
        (lambda m: {**without("refs")(m), "refs/a/b": b"0" * 64}, "a ref to nothing: refs/a/b"),
        (lambda m: {**without("refs")(m), "refs/a/b": b"\xff"}, "a ref to nothing"),
        (lambda m: dict(reversed(m.items())), "in the wrong order"),
        (lambda m: {**m, f"signatures/{'0' * 64}.json": b"{}"}, "wrong order|signature of nothing"),
    ],
)
def test_contents_that_do_not_fit(
    bundle: Path, target: DirectoryStore, change: Callable[[dict[str, bytes]], dict[str, bytes]], words: str
) -> None:
    with pytest.raises(BundleError, match=words):
        bring(made(bundle, change(members_of(bundle))), target)
    assert visible(target) == (0, 0)


def test_signature_of_nothing(bundle: Path, target: DirectoryStore) -> None:
    members = members_of(bundle)
    members[f"signatures/{'0' * 64}.json"] = b"{}"
    ordered = sorted(members, key=lambda path: Member(path=path, size=0, sha256="0" * 64).order)
    with pytest.raises(BundleError, match="a signature of nothing"):
        bring(made(bundle, {path: members[path] for path in ordered}), target)


def test_blob_of_another_hash_than_its_name(bundle: Path, target: DirectoryStore) -> None:
    members = members_of(bundle)
    path = max((path for path in members if path.startswith("blobs")), key=lambda path: len(members[path]))
    members[path] = bytes(len(members[path]))
    with pytest.raises(BundleError, match="does not hold the very blobs"):
        bring(made(bundle, members), target)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"bundle":"rayscribe","version":2,"extents":[]}', "version 2; this version reads 1. Upgrade"),
        (b'{"bundle":"other","version":1,"members":[]}', "index.json: bundle"),
        (b"[]", "index.json"),
        (b"not json", "index.json"),
        (b'{"bundle":"rayscribe","version":1,"members":[{"path":"a","size":-1,"sha256":"0"}]}', "members.0.size"),
    ],
)
def test_indexes_that_cannot_be_read(tmp_path: Path, target: DirectoryStore, raw: bytes, words: str) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(header(INDEX, len(raw)) + raw + bytes(padding(len(raw))) + END)
    with pytest.raises(BundleError, match=words):
        bring(path, target)


def test_what_is_no_bundle_at_all(tmp_path: Path, target: DirectoryStore) -> None:
    path = tmp_path / "x.tar"
    for raw in (b"PK\x03\x04" * 400, bytes(2048), os.urandom(4096)):
        path.write_bytes(raw)
        with pytest.raises(BundleError, match="is not a bundle"):
            bring(path, target)
    path.write_bytes(header("refs/a/b", 0) + END)
    with pytest.raises(BundleError, match=r"begins with 'refs/a/b' instead of index\.json"):
        bring(path, target)
    path.write_bytes(header(INDEX, 8 << 30) + END)
    with pytest.raises(BundleError, match="begins with"):
        bring(path, target)


def test_too_many_small_members_are_refused_before_they_are_read(tmp_path: Path, target: DirectoryStore) -> None:
    index = Index(members=(Member(path="refs/a/b", size=17 << 20, sha256="0" * 64),))
    with pytest.raises(BundleError, match="more than 16777216 bytes"):
        bring(made(tmp_path / "x.tar", {}, index), target)


def test_import_mends_damage_and_keeps_the_rest(
    bundle: Path, store: DirectoryStore, published: Published, target: DirectoryStore
) -> None:
    bring(bundle, target)
    blob = blob_of(target, published, "model.bin")
    size = blob.stat().st_size
    blob.write_bytes(bytes(size))
    with bundle.open("rb") as file:
        assert import_bundle(file, target).written_bytes == size
    assert verify(target, deep=True) == []


def test_signatures_come_together(bundle: Path, published: Published, target: DirectoryStore) -> None:
    keys = make_keys()
    bring(bundle, target)
    there = sign(published.manifest, keys.private_pem, target.read_signature(published.digest))
    target.write_signature(published.digest, there)
    bring(bundle, target)
    assert target.read_signature(published.digest) == there
    ours = [PublicKey.from_pem(keys.public_pem)]
    assert check_signature(published.manifest, target.read_signature(published.digest), ours) == keys.key_id


def test_import_can_ask_for_a_signature(
    tmp_path: Path, store: DirectoryStore, published: Published, target: DirectoryStore
) -> None:
    keys = make_keys()
    (tmp_path / "key.pub.pem").write_bytes(keys.public_pem)
    policy = TrustPolicy(keys=(tmp_path / "key.pub.pem",))
    export_bundle(["demo-whisper"], store, tmp_path / "x.tar")
    with (tmp_path / "x.tar").open("rb") as file, pytest.raises(NotTrusted, match="is not signed"):
        import_bundle(file, target, policy=policy)
    assert not target.root.exists()
    store.write_signature(published.digest, sign(published.manifest, keys.private_pem))
    export_bundle(["demo-whisper"], store, tmp_path / "x.tar")
    with (tmp_path / "x.tar").open("rb") as file:
        import_bundle(file, target, policy=policy)
    assert visible(target) == (2, 1)


def test_blob_that_somebody_prunes_meanwhile(bundle: Path, tmp_path: Path, published: Published) -> None:
    class Pruned(DirectoryStore):
        def write_manifest(self, manifest: object) -> None:
            super().write_manifest(published.manifest)
            self.delete_blob(published.manifest.files[0].sha256)

    with pytest.raises(BundleError, match="import it again"):
        bring(bundle, Pruned(tmp_path / "target"))


def test_disk_that_fails_is_the_bundles_fault(bundle: Path, target: DirectoryStore) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 5000:
                raise OSError(5, "Input/output error")
            return super().read(size)

    with pytest.raises(BundleError, match="cannot be read: Input/output error"):
        import_bundle(Failing(bundle.read_bytes()), target)
    assert visible(target) == (0, 0)


IMPORT = """
import sys
from model_store.bundle import import_bundle
from model_store import DirectoryStore
import_bundle(sys.stdin.buffer, DirectoryStore(sys.argv[1]))
"""


def test_kill_in_the_middle_shows_nothing(bundle: Path, published: Published, target: DirectoryStore) -> None:
    root = str(Path(__file__).parents[2])
    child = subprocess.Popen(
        [sys.executable, "-c", IMPORT, str(target.root)], stdin=-1, env={**os.environ, "PYTHONPATH": root}
    )
    assert child.stdin is not None
    # More than a pipe holds, so that the child has read some of it and waits for the rest.
    child.stdin.write(bundle.read_bytes()[:-4096])
    child.stdin.flush()
    child.send_signal(signal.SIGKILL)
    child.stdin.close()
    child.wait()
    assert visible(target) == (0, 0)
    bring(bundle, target)
    assert verify(target) == []
    assert visible(target) == (2, 1)


def test_export_that_is_killed_leaves_no_bundle(tmp_path: Path, store: DirectoryStore, published: Published) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from model_store import DirectoryStore\n"
        "from model_store.bundle import export_bundle\n"
        "def die(done, total):\n"
        "    if done > total / 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "export_bundle(['demo-whisper'], DirectoryStore(sys.argv[1]), Path(sys.argv[2]), die)\n"
    )
    child = in_child(code, store.root, tmp_path / "x.tar")
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert not (tmp_path / "x.tar").exists()
    assert len(list((tmp_path / ".bundles/staging").iterdir())) == 1
    export_bundle(["demo-whisper"], store, tmp_path / "x.tar")
    assert not (tmp_path / ".bundles").exists()


def test_bundle_is_a_source(
    tmp_path: Path, bundle: Path, published: Published, target: DirectoryStore, cache: NodeCache
) -> None:
    done = publish(parse_source(f"bundle:{bundle}#demo-whisper@v1"), "mine", target, "v1", INFO)
    assert done.manifest.source == published.manifest.source
    assert content(fetch("mine", target, cache).path) == FILES
    part = parse_source(f"bundle:{bundle.name}#demo-whisper", tmp_path, ("*.json",)).collect()
    assert list(part.files) == ["config.json"]
    for spec, error in (
        (f"bundle:{bundle}#other", NotPublished),
        ("bundle:nowhere.tar#demo-whisper", SourceNotFound),
        (f"bundle:{bundle}", UsageError),
    ):
        with pytest.raises(error):
            parse_source(spec, tmp_path).collect()
    with pytest.raises(SourceNotFound, match="no file that is wanted"):
        parse_source(f"bundle:{bundle}#demo-whisper", tmp_path, ("*.x",)).collect()


def test_command_line_through_a_pipe(store: DirectoryStore, published: Published, target: DirectoryStore) -> None:
    verb = f"{sys.executable} -m model_store bundle"
    line = f"{verb} export demo-whisper --out - --store {store.root} | {verb} import - --store {target.root} --json"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["written_bytes"] == published.manifest.size
    assert visible(target) == (2, 1)


def test_command_line(tmp_path: Path, bundle: Path, store: DirectoryStore, target: DirectoryStore) -> None:
    told = run_cli("bundle", "export", "demo-*", "--out", tmp_path / "x.tar", "--store", store.root, "--json").json()
    assert (tmp_path / "x.tar").read_bytes() == bundle.read_bytes()
    assert told["bytes"] == bundle.stat().st_size
    assert [ref["tag"] for ref in told["refs"]] == ["latest", "v1"]
    cut = run_cli("bundle", "import", "-", "--store", target.root, given=bundle.read_bytes()[:5000])
    assert (cut.code, cut.err.count("standard input is cut off")) == (4, 1)
    nothing = run_cli("bundle", "import", "nowhere.tar", "--store", target.root)
    assert (nothing.code, "nowhere.tar cannot be read" in nothing.err) == (4, True)
    assert run_cli("bundle", "export", "x", "--out", "-", "--json", "--store", store.root).code == 2
    assert visible(target) == (0, 0)
    shown = run_cli("bundle", "import", bundle, "--store", target.root)
    assert (shown.code, shown.out.splitlines()[1].split()[0]) == (0, "demo-whisper@v1")


FILL_AND_GROW = """
disk=$1 bundle=$2 python=$3
store() { "$python" -m model_store "$@" --store "$disk/store" --json; }
store bundle import "$bundle" >/dev/null && exit 1
store list
mount -o remount,size=64m "$disk"
store bundle import "$bundle" >/dev/null
store verify --deep
"""


def test_full_disk_shows_nothing_and_the_same_command_goes_on(tmp_path: Path, bundle: Path) -> None:
    """A real disk, which only this command sees; it grows after the first try."""
    disk = tmp_path / "disk"
    disk.mkdir()
    small = alone("--mount", f"mount -t tmpfs -o size=256k tmpfs {disk}")
    line = [*small, "sh", "-ec", FILL_AND_GROW, "sh", disk, bundle, sys.executable]
    done = subprocess.run(line, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    told = f"error: No space is left in the store at {disk}/store.\n  Free some, or use another.\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n[]\n", told)
