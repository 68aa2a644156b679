"""Runs a study: arms of equal budgets, seed by seed, each measured; the same command goes on later.

`python tools/run_study.py cr-arms --out runs/arms --nyu DATA --pictures SOTS --vgg FILE`

--vgg is needed where a loss compares features. A run that is done has a record in
results/studies/STUDY/, from which `unhaze report paper` makes docs/paper.md. Ctrl-C and SIGTERM
save the run at hand. One thread each, so that a study can take its turns beside other work;
processor time is counted, not the clock.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unhaze.config import load_config

ROOT = Path(__file__).parents[1]
CR = "losses.contrastive"
LITTLE = "method.contrast=0.1"  # of the shipped `cddgan`; CycleGAN has none
MINUTES = 20  # of the clock, after which a run is saved and the same command goes on


@dataclass(frozen=True)
class Arm:
    """A row. recipe: below recipes/. teacher: a recipe that takes the first half of the time."""

    name: str
    title: str
    recipe: str
    settings: tuple[str, ...] = ()
    teacher: str = ""


@dataclass(frozen=True)
class Study:
    """minutes: of one core for each arm, from which its steps follow; None: the overlay's steps."""

    overlay: str
    seeds: tuple[int, ...]
    arms: tuple[Arm, ...]
    minutes: float | None = None


AECR = "aecr/sots-indoor"
STUDIES = {
    "cr-arms": Study(
        "cr-arms",
        (1, 2, 3),
        (
            Arm("l1", "L1 alone", AECR, (f"{CR}.weight=0",)),
            Arm("cr-star", "L1 + CR*", AECR, (f"{CR}.negatives=0",)),
            Arm("cr-1-1", "L1 + CR 1:1", AECR),
            Arm("cr-1-10", "L1 + CR 1:10", AECR, (f"{CR}.negatives=10",)),
            Arm("cr-10-1", "L1 + CR 10:1", AECR, (f"{CR}.positives=10",)),
            Arm("cr-10-10", "L1 + CR 10:10", AECR, (f"{CR}.positives=10", f"{CR}.negatives=10")),
        ),
    ),
    "table1": Study(
        "one-budget",
        (1,),
        (
            Arm("dehazenet", "DehazeNet", "table1/dehazenet"),
            Arm("aodnet", "AOD-Net", "table1/aodnet"),
            Arm("griddehazenet", "GridDehazeNet", "table1/griddehazenet"),
            Arm("ffanet", "FFA-Net", "table1/ffanet"),
            Arm("msbdn", "MSBDN-DFF", "table1/msbdn"),
            Arm("kddn", "KDDN", "table1/kddn", teacher="table1/kddn-teacher"),
            Arm("pfdn", "PFDN", "table1/pfdn"),
            Arm("aecr", "AECR-Net", "table1/aecr"),
        ),
        minutes=30,
    ),
    "unpaired": Study(
        "unpaired-cpu",
        (1, 2, 3),
        (
            Arm("cddgan", "CDD-GAN, reconstructed", "unpaired/nyu", (LITTLE,)),
            Arm("frozen", "frozen negatives", "unpaired/frozen-negatives", (LITTLE,)),
            Arm("cyclegan", "no contrast (CycleGAN)", "unpaired/cyclegan"),
        ),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=list(STUDIES))
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--nyu", type=Path, required=True, help="folder or pack of NYU Depth v2")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of hazy/ and clear/")
    parser.add_argument("--vgg", type=Path, help="weights of VGG-19, for losses on features")
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "studies")
    parser.add_argument("--only", nargs="+", help="arms, in place of all")
    parser.add_argument("--try-steps", type=int, help="only so many steps of each; records nothing")
    given = parser.parse_args()
    for name in ("out", "nyu", "pictures", "results"):
        setattr(given, name, getattr(given, name).absolute())
    study = STUDIES[given.study]
    arms = [arm for arm in study.arms if not given.only or arm.name in given.only]
    needing = [arm.name for arm in arms if feature_losses(arm)]
    if given.vgg is not None:
        given.vgg = given.vgg.absolute()
    elif needing:
        parser.error(f"--vgg is needed: {', '.join(needing)} have losses on features")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped; the same command goes on"))
    for seed in study.seeds:
        for arm in arms:
            if given.try_steps:
                attempt(given, study, arm)
            elif not record_of(given, arm, seed).exists():
                finish(given, study, arm, seed)
        if given.try_steps:
            break


def attempt(given: argparse.Namespace, study: Study, arm: Arm) -> None:
    """Prints the processor seconds of a step and the memory of an arm."""
    settings, teacher = [], given.out / f".try-teacher-{os.getpid()}"
    if arm.teacher:
        made = [*few(arm), "schedule.steps=2", "watch.validate_limit=1"]
        run(train_words(given, study, Arm("", "", arm.teacher), seed=0, settings=made, out=teacher))
        settings = [f"method.teacher={teacher}"]
    seconds, memory = step_seconds(given, study, arm, steps=given.try_steps, settings=settings)
    shutil.rmtree(teacher, ignore_errors=True)
    print(f"{arm.name}: {seconds:.2f} s a step, {memory / 1e3:.1f} GB", flush=True)


def step_seconds(
    given: argparse.Namespace, study: Study, arm: Arm, *, settings: Sequence[str], steps: int = 8
) -> tuple[float, float]:
    """Processor seconds of one step, from two short runs, and MB at the peak."""
    times = []
    for number in (2, 2 + steps):
        out = given.out / f".try-{arm.name}-{os.getpid()}"
        short = [*settings, f"schedule.steps={number}", "watch.validate_limit=1", *few(arm)]
        seconds, memory = run(train_words(given, study, arm, seed=0, settings=short, out=out))
        shutil.rmtree(out)
        times.append(seconds)
    return (times[1] - times[0]) / steps, memory


def finish(given: argparse.Namespace, study: Study, arm: Arm, seed: int) -> None:
    """Trains an arm to its end, from where it is, and measures it."""
    settings, taught = [], 0.0
    folder = given.out / f"{arm.name}-{seed}"
    if arm.teacher:
        teacher = Arm(f"{arm.name}-teacher", "", arm.teacher)
        taught = train(given, study, teacher, seed, share=0.5)["seconds"]
        settings = [f"method.teacher={given.out / f'{teacher.name}-{seed}'}"]
    spent = train(given, study, arm, seed, settings=settings, share=0.5 if arm.teacher else 1)
    aside = record_of(given, arm, seed).with_suffix(".part")
    aside.parent.mkdir(parents=True, exist_ok=True)
    pictures = [f"--{name}={given.pictures / name}" for name in ("hazy", "clear")]
    run([*unhaze("eval"), str(folder), *pictures, f"--result={aside}", "--overwrite"])
    record = json.loads(aside.read_text(encoding="utf-8"))
    validations = [each for each in log_of(folder) if "validation_psnr" in each]
    record["study"] = {
        "arm": arm.title,
        "place": study.arms.index(arm),
        "seed": seed,
        "validation_psnr": validations[-1]["validation_psnr"],
        "cpu_seconds": round(taught + spent["seconds"]),
        "peak_mb": round(spent["memory"]),
        "minutes": study.minutes,
    }
    aside.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    aside.replace(record_of(given, arm, seed))


def train(
    given: argparse.Namespace,
    study: Study,
    arm: Arm,
    seed: int,
    *,
    settings: list[str] | None = None,
    share: float = 1,
) -> dict[str, Any]:
    """To the end of the schedule; what it has taken in all. Beside the run lies a note of that."""
    note = given.out / f"{arm.name}-{seed}.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    if note.exists():
        spent = json.loads(note.read_text(encoding="utf-8"))
    else:
        spent = {"seconds": 0.0, "memory": 0.0, "done": False, "settings": list(settings or [])}
        if study.minutes is not None:
            a_step, _ = step_seconds(given, study, arm, settings=spent["settings"])
            steps = max(20, round(60 * share * study.minutes / a_step))
            spent["settings"] += [f"schedule.steps={steps}"]
    folder = given.out / f"{arm.name}-{seed}"
    while not spent["done"]:
        before = step_of(folder)
        words = train_words(given, study, arm, seed=seed, settings=spent["settings"], out=folder)
        try:
            seconds, memory = run(words)
        except (KeyboardInterrupt, SystemExit) as stopped:
            spent["seconds"] += getattr(stopped, "used", (0, 0))[0]
            note.write_text(json.dumps(spent) + "\n", encoding="utf-8")
            raise
        spent["seconds"] += seconds
        spent["memory"] = max(memory, spent["memory"])
        step, last = step_of(folder), last_step(study, arm, spent["settings"])
        spent["done"] = step == last
        note.write_text(json.dumps(spent) + "\n", encoding="utf-8")
        if not spent["done"] and step == before:
            raise SystemExit(f"'{folder}' is at step {step} of {last}, as {MINUTES} minutes before")
    return spent


def train_words(
    given: argparse.Namespace, study: Study, arm: Arm, *, seed: int, settings: list[str], out: Path
) -> list[str]:
    """The command of one run; it starts `out`, or goes on there for `MINUTES`."""
    recipe = recipe_file(arm.recipe)
    table = [f"seed={seed}"]
    table += [f"{part}.root={given.nyu}" for part in (*data_tables(arm), "validation")]
    table += [f"losses.{loss}.weights={given.vgg}" for loss in feature_losses(arm)]
    words = [*unhaze("train"), str(recipe), "--over", str(overlay_file(study))]
    for each in (*table, *arm.settings, *settings):
        words += ["--set", each]
    return [*words, "--resume", str(out), "--budget-minutes", str(MINUTES)]


def recipe_file(name: str) -> Path:
    """The file of a recipe of this checkout, named as in `Arm`."""
    return ROOT / "recipes" / f"{name}.toml"


def overlay_file(study: Study) -> Path:
    """The overlay of a study."""
    return recipe_file(f"overlays/{study.overlay}")


def last_step(study: Study, arm: Arm, settings: Sequence[str]) -> int:
    """The last step of the schedule."""
    given = (*arm.settings, *settings)
    config = load_config(recipe_file(arm.recipe), given, overlays=[overlay_file(study)])
    return config.schedule.steps


def step_of(folder: Path) -> int:
    """The step at which a run was saved last; 0: not yet."""
    return max((int(state.name[-9:]) for state in folder.glob("state-*")), default=0)


def feature_losses(arm: Arm) -> list[str]:
    """The losses of an arm that compare features of VGG-19."""
    losses = load_config(recipe_file(arm.recipe), arm.settings).losses
    return [
        name for name in ("contrastive", "perceptual") if name in losses and losses[name].weight
    ]


def data_tables(arm: Arm) -> tuple[str, ...]:
    """The tables of a recipe that name NYU's scenes for training."""
    config = load_config(recipe_file(arm.recipe))
    return ("data.hazy", "data.clear") if config.data.name == "unpaired" else ("data",)


def few(arm: Arm) -> list[str]:
    """Settings for few scenes, where only time is measured."""
    tables = enumerate((*data_tables(arm), "validation"))
    return [f"{table}.scenes=[{20 * place}, {20 * place + 20}]" for place, table in tables]


def unhaze(verb: str) -> list[str]:
    """The start of a command of this checkout."""
    return [sys.executable, "-m", "unhaze", verb]


def run(words: list[str]) -> tuple[float, float]:
    """Processor seconds and MB at the peak of a command, one thread; ends us if it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    child = subprocess.Popen(words, cwd=ROOT, env=environment)
    try:
        _, status, usage = os.wait4(child.pid, 0)
    except (KeyboardInterrupt, SystemExit) as stopped:
        child.send_signal(signal.SIGTERM)  # it saves, and the same command goes on
        usage = os.wait4(child.pid, 0)[2]
        vars(stopped)["used"] = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3
        raise
    if status != 0:
        raise SystemExit(f"this failed with status {os.waitstatus_to_exitcode(status)}: {words}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3


def record_of(given: argparse.Namespace, arm: Arm, seed: int) -> Path:
    """Where the measurement of a run lies."""
    return given.results / given.study / f"{arm.name}-{seed}.json"


def log_of(folder: Path) -> list[dict[str, Any]]:
    """The entries of a run's log."""
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


if __name__ == "__main__":
    main()
