"""Runs a program and writes down what it took: `python -I -S launch.py FACTS PROGRAM WORDS...`.

On Linux the peak memory of a new process starts at that of the process that made it. This one holds
nothing, so that the measuring process may hold PyTorch. FACTS becomes a line of three numbers:
seconds, seconds of processor time, and the peak resident size in bytes.
"""

import os
import sys
import time


def main() -> int:
    facts, *command = sys.argv[1:]
    start = time.perf_counter()
    process = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - start
    # Kilobytes everywhere but on macOS.
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    file = os.open(facts, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)  # pathlib would be larger than all
    os.write(file, f"{seconds} {usage.ru_utime + usage.ru_stime} {peak}".encode())
    return abs(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    sys.exit(main())
