"""What the processes of one training have in common: sums and pictures of the whole batch.

In one process each function returns what it is given.
"""

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


def mean_of_all(value: Tensor) -> Tensor:
    """The mean over all processes, whose gradient is that of this process's own value.

    Gradients of parameters are averaged over the processes afterwards, so that a function of such
    means has the gradient that one process with the whole batch would have.
    """
    count = world()[1]
    if count == 1:
        return value
    return value + (summed(value) / count - value).detach()


def with_following(images: Tensor, count: int) -> Tensor:
    """(B,...) of this process -> (B + count,...): and the next ones of the whole batch, cyclic."""
    rank, processes = world()
    if processes == 1 or count == 0:
        return images
    gathered = [torch.empty_like(images) for _ in range(processes)]
    distributed.all_gather(gathered, images.contiguous())
    whole, size = torch.cat(gathered), len(images)
    places = torch.arange(rank * size, (rank + 1) * size + count) % len(whole)
    return whole[places.to(images.device)]
