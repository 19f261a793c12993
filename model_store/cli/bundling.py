"""Verbs of bundles: one file that carries models to where no network reaches."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from model_store.bundle import Exported, Imported, export_bundle, import_bundle, write_bundle
from model_store.cli.common import STORE, JsonOption, StoreOption, app
from model_store.console import human_size, print_json, progress_bar
from model_store.errors import BundleError, UsageError
from model_store.stores import open_store
from model_store.trust.policy import TrustPolicy

bundle = typer.Typer(help="Carry models in one file to where no network reaches.", no_args_is_help=True)
app.add_typer(bundle, name="bundle")
PIPE = Path("-")


@bundle.command("export")
def export_command(
    names: Annotated[list[str], typer.Argument(help="NAME, NAME@TAG, NAME@sha256:DIGEST, or patterns: 'demo-*'.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write; - for standard output.")],
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Write models of the store into one file, checking every byte."""
    if out == PIPE and as_json:
        raise UsageError("--json and --out - both want standard output.", "Give a file with --out.")
    with progress_bar(out.name, quiet=as_json) as progress:
        if out == PIPE:
            done = write_bundle(names, open_store(store), sys.stdout.buffer, progress)
            sys.stdout.buffer.flush()
        else:
            done = export_bundle(names, open_store(store), out, progress)
    if as_json:
        print_json({"out": str(out), "bytes": done.size, **_contents(done)})
    elif out != PIPE:
        print(f"{out}  {human_size(done.size)}  {', '.join(f'{ref.name}@{ref.tag}' for ref in done.refs)}")


@bundle.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(help="A bundle; - for standard input.")],
    key: Annotated[list[Path] | None, typer.Option("--key", help="A public key that must have signed all.")] = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Read a bundle into the store: all of it is there at the end, or nothing of it can be seen."""
    name = "The bundle on standard input" if file == PIPE else f"The bundle {file}"
    with ExitStack() as stack:
        opened = sys.stdin.buffer if file == PIPE else stack.enter_context(_open(file))
        progress = stack.enter_context(progress_bar(file.name, quiet=as_json))
        policy = TrustPolicy(keys=tuple(key or ()))
        done = import_bundle(opened, open_store(store), name=name, policy=policy, progress=progress)
    if as_json:
        print_json({"written_bytes": done.written_bytes, **_contents(done)})
    else:
        for ref in done.refs:
            print(f"{ref.name}@{ref.tag}  sha256:{ref.digest[:12]}")
        print(f"{human_size(done.written_bytes)} written")


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise BundleError(f"The bundle {path} cannot be read: {error.strerror}.", "Check the path.") from None


def _contents(done: Exported | Imported) -> dict[str, Any]:
    refs = [{"name": ref.name, "tag": ref.tag, "digest": ref.digest} for ref in done.refs]
    return {"refs": refs, "manifests": list(done.manifests)}
