"""Writes gen/ from protos/: messages, stubs, their types, and the service configs.

`--check` writes nothing and fails when gen/ is not what the protos say.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from subprocess import run
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
THIRD_PARTY = ROOT / "third_party"
GEN = ROOT / "gen"
# google/* is not here: googleapis-common-protos ships its Python modules.
FOREIGN = ("buf/validate/validate.proto",)
# Regular packages: import-linter, mypy and an editable installation all see less of a namespace.
PACKAGE_DOC = '"""Generated from protos/ by `make gen`. Never edited."""\n'


def main() -> int:
    """Generate; return the exit code."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when gen/ is stale")
    check = parser.parse_args().check
    with TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        generate(fresh)
        stale = sorted(differences(fresh, GEN))
        if check:
            for path in stale:
                print(f"stale: gen/{path} (run `make gen`)", file=sys.stderr)
            return 1 if stale else 0
        for path in stale:
            replace(fresh / path, GEN / path)
    print(f"gen: {len(stale)} files changed")
    return 0


def generate(target: Path) -> None:
    """Write everything generated into the empty folder `target`."""
    ours = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    options = [
        f"--python_out={target}",
        f"--grpc_python_out={target}",
        f"--mypy_out=quiet:{target}",
        f"--mypy_grpc_out=quiet:{target}",
    ]
    # The plugins live beside this interpreter; PATH may know others, or none.
    plugins = [
        f"--plugin={name}={Path(sys.executable).parent / name}"
        for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    ]
    includes = [f"-I{PROTOS}", f"-I{THIRD_PARTY}", f"-I{files('grpc_tools') / '_proto'}"]
    protoc = [sys.executable, "-m", "grpc_tools.protoc", *includes, *plugins, *options]
    run([*protoc, *ours, *FOREIGN], check=True)
    for config in sorted(PROTOS.rglob("*.json")):
        (target / config.relative_to(PROTOS)).write_bytes(config.read_bytes())
    for stub in sorted(target.rglob("*_pb2_grpc.py*")):
        if no_services(stub.relative_to(target)):
            stub.unlink()
    for folder in sorted(path for path in target.rglob("*") if path.is_dir()):
        (folder / "__init__.py").write_text(PACKAGE_DOC)
    for package in target.iterdir():
        (package / "py.typed").touch()


def no_services(stub: Path) -> bool:
    """Say whether the proto behind `stub`, a path below the target, defines no service."""
    name = stub.name.removesuffix(".pyi").removesuffix(".py").removesuffix("_pb2_grpc") + ".proto"
    proto = PROTOS / stub.with_name(name)
    return not proto.exists() or "\nservice " not in proto.read_text()


def differences(fresh: Path, current: Path) -> Iterator[Path]:
    """Yield each relative path whose content is not the same in both folders."""
    for path in listing(fresh) | listing(current):
        one, other = fresh / path, current / path
        if not one.exists() or not other.exists() or one.read_bytes() != other.read_bytes():
            yield path


def listing(folder: Path) -> set[Path]:
    """Return the relative paths of all files in `folder`, without Python's caches."""
    return {
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def replace(source: Path, target: Path) -> None:
    """Make `target` what `source` is, present or absent."""
    if not source.exists():
        target.unlink()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # Renamed into place: a test that imports meanwhile sees the old file or the new one.
    scratch = target.with_name(target.name + ".new")
    scratch.write_bytes(source.read_bytes())
    scratch.rename(target)


if __name__ == "__main__":
    sys.exit(main())
