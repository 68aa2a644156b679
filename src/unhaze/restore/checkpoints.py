"""Checkpoints of PyTorch as models: made into ONNX once, by the learning half as a program."""

import hashlib
import importlib.util
import logging
import sys
from pathlib import Path

from unhaze.cache import cache_folder
from unhaze.errors import UnhazeError

TOLERANCE = 1e-3  # largest difference of the ONNX file from PyTorch, where a picture is 0 to 1
MARK = "unhaze: error: "

logger = logging.getLogger(__name__)


def ready(source: Path, net: str | None = None) -> Path:
    """The ONNX file of a checkpoint, in the cache; made on the first call, which takes PyTorch.

    It lies in the folder `onnx` of the cache (`cache_folder`), under the sha256 of all that
    it is made of, so that a changed checkpoint and a newer unhaze make a new one. Nothing in the
    checkpoint is run. net: as `unhaze export --net`. UnhazeError: what `unhaze export` says.
    """
    from unhaze import fetch

    made = cache_folder() / "onnx" / f"{key_of(source, net)}.onnx"
    with fetch.locked(made):
        if not made.is_file():
            convert(source, net, made)
    return made


def key_of(source: Path, net: str | None) -> str:
    """16 hexadecimal digits for the files, the choice of a network, and this program's version."""
    from importlib.metadata import version

    digest = hashlib.sha256(f"{version('unhaze')} {net or ''}".encode())
    files = [source]
    if source.is_dir():
        newest = max(source.glob("state-*"), default=source)
        files = [each for each in sorted(newest.iterdir()) if each.is_file()]
    elif not source.exists():  # in parts
        files = sorted(source.parent.glob(f"{source.stem}-[0-9]*.safetensors"))
    for file in files:
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]


def convert(source: Path, net: str | None, made: Path) -> None:
    """`unhaze export` in a process of its own: PyTorch's memory is free again afterwards."""
    import subprocess

    if importlib.util.find_spec("torch") is None:
        raise UnhazeError(
            f"'{source}' is no ONNX file, and making it one, once, needs PyTorch:"
            ' pip install "unhaze[train]"'
        )
    command = [sys.executable, "-m", "unhaze", "export", str(source), "-o", str(made)]
    command += ["--tolerance", str(TOLERANCE), *(["--net", net] if net else [])]
    logger.warning("making '%s' into ONNX, once", source)
    done = subprocess.run(command, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if line.startswith("unhaze: ")]
    if done.returncode == 0:
        for line in said:
            logger.warning("%s", line.removeprefix("unhaze: "))
        return
    errors = [line.removeprefix(MARK) for line in said if line.startswith(MARK)]
    reason = errors[-1] if errors else " ".join(done.stderr.split())[-300:]
    raise UnhazeError(reason or f"'{source}' was not made into ONNX: status {done.returncode}")
