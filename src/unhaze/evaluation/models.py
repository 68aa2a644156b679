"""Opens everything that can be evaluated: models, checkpoints, folders of restored pictures."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from unhaze.errors import UnhazeError
from unhaze.evaluation.precomputed import precomputed_in
from unhaze.hardware import describe_cpu
from unhaze.image import channels_first


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    restore: hazy (H,W,3) float32 in [0,1] -> restored, same shape, not clamped. facts: from the
    header of its file. precomputed: restored pictures by name, used instead of `restore`. turn: a
    lock held during restoration, because there is memory for one picture at a time.
    """

    restore: Callable[[np.ndarray], np.ndarray]
    params: int | None
    weights_sha256: str | None
    hardware: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    precomputed: Mapping[str, Path] | None = None
    turn: Lock = field(default_factory=Lock)


def open_subject(model: str, device: str, network: str | None = None) -> Subject:
    """Opens `model` to restore whole pictures at full resolution on `device`.

    A checkpoint runs in PyTorch (`published.open_weights`), all other models as for users
    (`restore.models.open_model`); "identity" changes nothing, and a folder of pictures provides
    finished results. network: of a checkpoint, if it is not recognised. UnhazeError: none of
    these, or as raised by these functions.
    """
    if model == "identity":
        return Subject(lambda hazy: hazy, 0, None, describe_cpu())
    precomputed = precomputed_in(Path(model))
    if precomputed:
        return Subject(no_restoring, None, None, describe_cpu(), precomputed=precomputed)
    from unhaze.restore.models import checkpoint_of, open_model, refuse_net
    from unhaze.restore.native import restore_whole

    checkpoint = checkpoint_of(model)
    if checkpoint is not None:
        return _open_checkpoint(checkpoint, device, network)
    refuse_net(model, network)
    opened = open_model(model, device)
    params = opened.card.get("params")
    return Subject(
        lambda hazy: restore_whole(opened, hazy),
        params if isinstance(params, int) else None,
        None if opened.path is None else sha256([opened.path]),
        describe_cpu() if opened.device == "cpu" else f"{opened.device} by ONNX Runtime",
        opened.card,
    )


def no_restoring(hazy: np.ndarray) -> np.ndarray:
    """Always raises UnhazeError: restored pictures are looked up by name instead."""
    raise UnhazeError("a folder of restored pictures cannot restore other pictures; give a model")


def _open_checkpoint(source: Path, device: str, network: str | None) -> Subject:
    """Opens a checkpoint with `open_weights`, in full float32 precision, also on a GPU."""
    import torch

    from unhaze.published import open_weights
    from unhaze.tensors import files_of
    from unhaze.weights import newest_state

    if device not in ("auto", "cpu", "cuda"):
        raise UnhazeError(f"no device '{device}'; there are: auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UnhazeError("there is no CUDA device for PyTorch; use --device cpu")
    kind = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    weights = open_weights(source, net=network)
    net = weights.net.to(kind)

    def restore(hazy: np.ndarray) -> np.ndarray:
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        try:
            with torch.inference_mode(), exact:
                restored = net(torch.from_numpy(channels_first(hazy)[None]).to(kind))
                return from_bchw(restored.float().cpu().numpy())
        except torch.OutOfMemoryError as error:
            raise UnhazeError("not enough GPU memory for this picture; use --device cpu") from error

    run = source.is_dir() and "published_sha256" not in weights.facts
    file = newest_state(source) / "ema.safetensors" if run else source
    files = sorted(file.iterdir()) if file.is_dir() else [file]
    if not file.exists():
        files = files_of(file.parent, file.stem)
    params = sum(parameter.numel() for parameter in net.parameters())
    hardware = torch.cuda.get_device_name() if kind == "cuda" else describe_cpu()
    return Subject(restore, params, sha256(files), hardware, weights.facts)


def from_bchw(batch: np.ndarray) -> np.ndarray:
    """(1,3,H,W) -> (H,W,3)."""
    return np.ascontiguousarray(batch[0].transpose(1, 2, 0))


def sha256(files: list[Path]) -> str:
    """Returns the digest of all `files` concatenated; for one file what `sha256sum` prints."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
