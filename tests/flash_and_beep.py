"""A clip whose flash and beep begin at once, and when a decoder gives the one and the other."""

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
    shown = _said_of(path, "-map", "0:v:0", "-vf", "scale=2:2,format=gray,showinfo")
    frames = re.findall(r"pts_time:\s*(\S+) .*mean:\[(\d+)", shown)
    return next(float(time) for time, mean in frames if int(mean) > 100)


def _onset_of_beep(path: Path) -> float:
    level = "lavfi.astats.Overall.Peak_level"
    measured = f"asetnsamples=48,astats=metadata=1:reset=1,ametadata=print:key={level}"
    heard = _said_of(path, "-map", "0:a:0", "-af", measured)
    levels = re.findall(rf"pts_time:\s*(\S+)\s.*?{level}=(\S+)", heard, re.DOTALL)
    return next(float(time) for time, decibels in levels if float(decibels) > -40)


def _said_of(path: Path, *words: str) -> str:
    begin = ["ffmpeg", "-v", "info", "-copyts", "-i", str(path)]
    command = [*begin, *words, "-f", "null", "-"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stderr
