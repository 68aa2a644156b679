"""A clip whose flash and beep begin at once, and when each of them is decoded from a file."""

import re
import subprocess
from pathlib import Path

AT, UNTIL, LENGTH, RATE = 1.0, 1.4, 2.0, 25
FLASH = f"color=black:s=96x64:r={RATE}:d={LENGTH}"
FLASH += f",drawbox=c=white:t=fill:enable='between(t,{AT - 0.001},{UNTIL})'"
BEEP = f"sine=1000:d={LENGTH}:r=48000,volume=0:enable='not(between(t,{AT},{UNTIL}))'"


def make_flash_and_beep(path: Path, *words: str) -> Path:
    """Encoded by the command ffmpeg as `words` say."""
    given = ["-f", "lavfi", "-i", FLASH, "-f", "lavfi", "-i", BEEP]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *given, *words, str(path)], check=True)
    return path


def picture_before_sound(path: Path) -> float:
    """Seconds by which the flash is shown before the beep is heard, as ffmpeg decodes a file."""
    return _onset_of_beep(path) - _onset_of_flash(path)


def _onset_of_flash(path: Path) -> float:
    tag = "lavfi.signalstats.YAVG"
    graph = f"movie={path},scale=64:48,format=gray,signalstats"
    shown = ["-show_entries", f"frame=pts_time:frame_tags={tag}", "-of", "csv=p=0"]
    lines = _said(["ffprobe", "-v", "error", "-f", "lavfi", "-i", graph, *shown]).stdout.split()
    frames = [line.split(",")[:2] for line in lines]
    return next(float(time) for time, light in frames if float(light) > 100)


def _onset_of_beep(path: Path) -> float:
    tag, gaps = "lavfi.astats.Overall.Peak_level", "aresample=async=1:min_hard_comp=0.01"
    measured = f"{gaps},asetnsamples=48,astats=metadata=1:reset=1,ametadata=print:key={tag}"
    given = ["ffmpeg", "-v", "info", "-copyts", "-i", str(path), "-map", "0:a:0"]
    heard = _said([*given, "-af", measured, "-f", "null", "-"]).stderr
    levels = re.findall(rf"pts_time:\s*(\S+)\s.*?{tag}=(\S+)", heard, re.DOTALL)
    return next(float(time) for time, decibels in levels if float(decibels) > -40)


def _said(command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, check=True, capture_output=True, text=True)
