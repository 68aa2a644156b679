"""Distributed training: sums and pictures of the whole batch.

In one process each function returns what it is given.
"""

from collections.abc import Callable

import torch
from torch import Tensor, distributed


def world() -> tuple[int, int]:
    """This process's number, and how many there are."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def summed(value: Tensor) -> Tensor:
    """The sum over all processes, without gradient."""
    if world()[1] == 1:
        return value
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total


def part_of(size: int) -> slice:
    """Returns the slice of `size` samples, drawn alike in all processes, that is this process's.

    Slices differ by at most one sample in length.
    """
    rank, processes = world()
    return slice(rank * size // processes, (rank + 1) * size // processes)


def drawn(draw: Callable[..., Tensor], *shape: int, like: Tensor) -> Tensor:
    """Random numbers of `shape`, by torch.rand or torch.randn, for the samples of this process: its
    part of those for the whole batch, which all processes draw alike and have as many of. Of the
    type and on the device of `like`.
    """
    size = shape[0] * world()[1]
    return draw((size, *shape[1:]), dtype=like.dtype, device=like.device)[part_of(size)]


def share_of(size: int) -> float:
    """`size` samples of this process in parts of the mean of all processes: 1 where all have as
    many. A mean over them, times this and averaged over the processes, is that of all samples."""
    processes = world()[1]
    if processes == 1:
        return 1.0
    return float(size * processes / summed(torch.tensor(float(size), device=_device())))


def mean_of_all(value: Tensor, size: int) -> Tensor:
    """The mean over all samples of a mean over `size` ones here, with the gradient of the latter.

    Each process's loss is weighted by its `share_of` the samples and gradients of parameters are
    averaged over the processes afterwards, so that a function of such means has the gradient that
    one process with the whole batch would have.
    """
    if world()[1] == 1:
        return value
    return value + (summed(value * share_of(size)) / world()[1] - value).detach()


def with_following(images: Tensor, count: int) -> Tensor:
    """(B,...) of this process -> (B + count,...): and the next ones of the whole batch, cyclic."""
    rank, processes = world()
    if processes == 1 or count == 0:
        return images
    sizes = torch.zeros(processes, dtype=torch.int64, device=images.device)
    sizes[rank] = len(images)
    sizes = summed(sizes).tolist()
    sent = images.new_zeros(max(sizes), *images.shape[1:])  # all gather as many
    sent[: len(images)] = images
    gathered = [torch.empty_like(sent) for _ in range(processes)]
    distributed.all_gather(gathered, sent)
    whole = torch.cat([part[:size] for part, size in zip(gathered, sizes)])
    first = sum(sizes[:rank])
    places = torch.arange(first, first + len(images) + count) % len(whole)
    return whole[places.to(images.device)]


def _device() -> torch.device:
    """Returns the device of sums over processes."""
    on_gpu = distributed.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
