"""Workers as actors of Ray Data, on this computer or on many: each loads the model once.

Blocks of names flow to the actors, and outcomes back. Ray runs a block again when its actor dies;
targets that an actor has written are found and not made again, and a ledger counts how often each
file was begun, so that one that kills its workers ends as failed.
"""

# Ray is an extra of its own that is not among the developers'.
# pyright: reportMissingImports=false

import json
import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from unhaze.batch.jobs import Job, Mark, Outcome, Work
from unhaze.batch.worker import Worker, faulted
from unhaze.errors import UnhazeError

if TYPE_CHECKING:
    from unhaze.batch.run import BatchStats, ExecutorConfig

BLOCK = 16  # files that travel together at most; fewer where there are few
BLOCKS_EACH = 8  # at least, for each worker, so that none waits for another at the end
STORE_BYTES = 100 << 20  # of a Ray that is started here: only names and outcomes pass through


class Ledger:
    """An actor that counts the attempts at each file and keeps the stop flag."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.begun: Counter[str] = Counter()
        self.stopped = False

    def begin(self, source: str) -> str:
        """Returns "go", "stop" or "give up" to a worker that is about to start a file."""
        if self.stopped:
            return "stop"
        self.begun[source] += 1
        return "go" if self.begun[source] <= self.limit else "give up"

    def stop(self) -> None:
        """Nothing else begins."""
        self.stopped = True


class Actor:
    """A worker for `map_batches`: jobs in, outcomes out."""

    def __init__(self, work: Work, ledger: Any) -> None:
        self.ledger = ledger
        self.threads = ThreadPoolExecutor(work.at_once)
        self.worker: Worker | str  # a text says why there is none
        try:
            self.worker = Worker(work)
        except UnhazeError as error:  # raised here, it would be drowned in Ray's own words
            self.worker = str(error)

    def __call__(self, block: dict[str, Any]) -> dict[str, list[str]]:
        """A block of jobs; those that a stop came before have no outcome."""
        from ray.exceptions import RayError

        worker = self.worker
        if isinstance(worker, str):
            return {"outcome": [json.dumps({"problem": worker})]}
        jobs = [job_of(json.loads(str(text))) for text in block["job"]]
        at_work = {self.threads.submit(self._do, worker, job): job for job in jobs}
        outcomes = []
        for future, job in at_work.items():
            fault = future.exception()
            if fault is None or isinstance(fault, RayError):  # the cluster's, not the file's
                outcomes.append(future.result())
            else:
                outcomes.append(faulted(job, fault, worker.name))
        return {"outcome": [packed(each) for each in outcomes if each is not None]}

    def _do(self, worker: Worker, job: Job) -> Outcome | None:
        import ray

        word = ray.get(self.ledger.begin.remote(job.source))
        if word == "go":
            return worker.do(job, threading.Event())
        return None if word == "stop" else worker.give_up(job)


def on_cluster(
    jobs: Sequence[Job],
    work: Work,
    executor: "ExecutorConfig",
    stats: "BatchStats",
    stop: threading.Event,
) -> Iterator[Outcome | None]:
    """Does all jobs by actors and yields outcomes as they come; None: Ray is ready.

    When `stop` is set, files at work are finished and nothing else begins. UnhazeError: no cluster
    there, fewer processors or GPUs than one worker needs, the model cannot be loaded there.
    """
    import ray
    from ray.data import ActorPoolStrategy, from_items
    from ray.exceptions import RayError

    with connected(executor, work.threads):
        there = ray.cluster_resources()
        most = fitting(there, work, executor)
        workers = min(executor.workers or most, most, len(jobs))
        stats.workers = workers
        yield None
        ledger = ray.remote(num_cpus=0)(Ledger).remote(work.retries + 1)
        threading.Thread(target=tell, args=(stop, ledger), daemon=True).start()
        blocks = max(-(-len(jobs) // BLOCK), min(len(jobs), workers * BLOCKS_EACH))
        names = [{"job": json.dumps(asdict(job))} for job in jobs]
        outcomes = from_items(names, override_num_blocks=blocks).map_batches(
            Actor,
            fn_constructor_args=(work, ledger),
            batch_size=None,
            compute=ActorPoolStrategy(size=workers),
            num_cpus=max(1, work.threads),
            num_gpus=executor.gpus or None,
        )
        rows, problem = outcomes.iter_rows(), None
        try:
            for row in rows:
                result = unpacked(row["outcome"])
                if isinstance(result, Outcome):
                    yield result
                problem = problem or (result if isinstance(result, str) else None)
        except RayError as error:
            cause = str(getattr(error, "cause", None) or error).strip().splitlines()[-1]
            raise UnhazeError(f"the workers on Ray failed: {cause}") from error
        finally:
            ledger.stop.remote()
            for _ in rows:  # Ray hangs if it is to end while a dataset is at work
                continue
        if problem:
            raise UnhazeError(problem)


@contextmanager
def connected(executor: "ExecutorConfig", threads: int) -> Iterator[None]:
    """Ray, started here or found, quiet; what Ctrl-C and SIGTERM do stays as it was."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    import ray
    from ray.data import DataContext

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if executor.cluster == "local":
            cores = {"num_cpus": executor.workers * max(1, threads)} if executor.workers else {}
            quiet |= {"include_dashboard": False, "object_store_memory": STORE_BYTES}
            ray.init(address="local", **cores, **quiet)
        else:
            ray.init(address=executor.cluster, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        words = " ".join(str(error).split())[:200]
        raise UnhazeError(f"no Ray cluster at '{executor.cluster}': {words}") from error
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            signal.signal(number, handler)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def fitting(there: dict[str, float], work: Work, executor: "ExecutorConfig") -> int:
    """Returns how many workers fit on the cluster. UnhazeError: none."""
    needs = {"CPU": max(1, work.threads)} | ({"GPU": executor.gpus} if executor.gpus else {})
    for kind, needed in needs.items():
        if there.get(kind, 0) < needed:
            has = f"{there.get(kind, 0):g} {kind}"
            raise UnhazeError(f"the cluster has {has}; one worker needs {needed:g}")
    return min(int(there[kind] / needed) for kind, needed in needs.items())


def tell(stop: threading.Event, ledger: Any) -> None:
    """Passes a stop on to all workers."""
    stop.wait()
    ledger.stop.remote()


def packed(outcome: Outcome) -> str:
    """An outcome as JSON, without what is known of a video."""
    return json.dumps(asdict(replace(outcome, video=None)))


def unpacked(text: str) -> Outcome | str:
    """Undoes `packed`; a text says why a worker could not begin."""
    facts = json.loads(text)
    if "problem" in facts:
        return facts["problem"]
    return Outcome(**facts | {"job": job_of(facts["job"])})


def job_of(facts: dict[str, Any]) -> Job:
    """From what JSON kept of it."""
    before = Mark(**facts["before"]) if facts["before"] else None
    return Job(**facts | {"mark": Mark(**facts["mark"]), "before": before})
