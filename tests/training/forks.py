"""Processes that begin with PyTorch loaded: forks of one process that has loaded it once."""

import multiprocessing
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch._dynamo", "unhaze.training.loop"])


def start(work: Callable, *arguments: object) -> multiprocessing.process.BaseProcess:
    """A process of its own that runs `work`, a function of a test file."""
    process = CONTEXT.Process(target=alone, args=({}, work, *arguments))
    process.start()
    return process


def together(work: Callable, environments: Sequence[Mapping[str, str]], *arguments: object) -> list:
    """What `work` returns in as many processes at a time, each with its environment variables.

    What it raises in one of them is raised here.
    """
    with ProcessPoolExecutor(len(environments), mp_context=CONTEXT) as pool:
        results = [pool.submit(alone, each, work, *arguments) for each in environments]
        return [result.result(timeout=240) for result in results]


def ranks(processes: int, nodes: int = 1) -> list[dict[str, str]]:
    """The variables that torchrun gives to each of so many processes."""
    each = processes // nodes
    job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": processes}
    job |= {"LOCAL_WORLD_SIZE": each, "TORCHELASTIC_RUN_ID": "test", "GROUP_WORLD_SIZE": nodes}
    own = [
        {"RANK": rank, "LOCAL_RANK": rank % each, "GROUP_RANK": rank // each}
        for rank in range(processes)
    ]
    return [{key: str(value) for key, value in (job | rank).items()} for rank in own]


def alone(environment: Mapping[str, str], work: Callable, *arguments: object) -> object:
    """In a process that shares its cores with others."""
    import torch

    torch.set_num_threads(1)
    os.environ.update({"OMP_NUM_THREADS": "1"} | dict(environment))
    return work(*arguments)


def free_port() -> int:
    """A port of this computer that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]
