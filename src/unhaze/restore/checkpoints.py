"""PyTorch checkpoints as models: converted to ONNX once, by the learning half in another
process.
"""

import hashlib
import importlib.util
import logging
import sys
from pathlib import Path

from unhaze.cache import cache_folder
from unhaze.errors import UnhazeError

TOLERANCE = 1e-3  # largest difference between ONNX and PyTorch, for pictures of 0 to 1
MARK = "unhaze: error: "

logger = logging.getLogger(__name__)


def ready(source: Path, net: str | None = None) -> Path:
    """Returns the ONNX file of a checkpoint in the cache; the first call creates it, which needs
    PyTorch.

    It is stored in the folder `onnx` of the cache (`cache_folder`), under the SHA-256 of all its
    inputs, so that a changed checkpoint or a newer unhaze creates a new file. Nothing in the
    checkpoint is executed. net: as `unhaze export --net`. UnhazeError: the error of `unhaze
    export`.
    """
    from unhaze import fetch

    made = cache_folder() / "onnx" / f"{key_of(source, net)}.onnx"
    with fetch.locked(made):
        if not made.is_file():
            convert(source, net, made)
    return made


def key_of(source: Path, net: str | None) -> str:
    """Returns 16 hexadecimal digits for the files, the chosen network, and the version of
    unhaze.
    """
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
    """Runs `unhaze export` in a process of its own, so that PyTorch's memory is freed
    afterwards. UnhazeError without one for a file that is damaged or no weights.
    """
    import subprocess

    from unhaze.zoo.kinds import kind_of

    kind = kind_of(source) if source.is_file() else None
    if kind is not None:
        raise UnhazeError(f"cannot read '{source}': {kind.reason}")
    if importlib.util.find_spec("torch") is None:
        raise UnhazeError(
            f"'{source}' is not an ONNX file; converting it, once, needs PyTorch:"
            ' pip install "unhaze[train]"'
        )
    command = [sys.executable, "-m", "unhaze", "export", str(source), "-o", str(made)]
    command += ["--tolerance", str(TOLERANCE), *(["--net", net] if net else [])]
    logger.warning("converting '%s' to ONNX, once", source)
    done = subprocess.run(command, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if line.startswith("unhaze: ")]
    if done.returncode == 0:
        for line in said:
            logger.warning("%s", line.removeprefix("unhaze: "))
        return
    errors = [line.removeprefix(MARK) for line in said if line.startswith(MARK)]
    reason = errors[-1] if errors else " ".join(done.stderr.split())[-300:]
    raise UnhazeError(
        reason or f"'{source}' could not be converted to ONNX: status {done.returncode}"
    )
