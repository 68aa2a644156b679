"""Dockerfile and compose.yaml: read, and their steps done, as no container is built here."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from tests.web.files import hazy_photo, same_but_colours
from tests.web.test_hostile import wait_until
from unhaze.cli.options import GIVEN
from unhaze.cli.serve import serve
from unhaze.extras import EXTRAS
from unhaze.formats import FORMATS, LIBVIPS, OWN

ROOT = Path(__file__).parents[2]
# Runs a command as in the container: nothing but TMPDIR can be written to.
READ_ONLY = """
import errno, os, sys
allowed = os.environ["TMPDIR"]
def refuse(event, arguments):
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    if event == "open" and isinstance(arguments[0], (str, bytes)) and arguments[2] & writes:
        path = os.path.abspath(os.fsdecode(arguments[0]))
    elif event == "os.mkdir":
        path = os.path.abspath(os.fsdecode(arguments[0]))
    else:
        return
    if not path.startswith((allowed, "/dev/")):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
sys.addaudithook(refuse)
from unhaze.cli import main
sys.exit(main(sys.argv[1:]))
"""


def instructions() -> list[tuple[str, str]]:
    """(WORD, rest) of every line of the Dockerfile that is no comment."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def last(word: str) -> str:
    """What the last instruction of this kind says."""
    return [rest for each, rest in instructions() if each == word][-1]


def compose() -> dict:
    file = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return file["services"]["unhaze"]


def test_the_image_is_small_pinned_and_not_root():
    words = [word for word, _ in instructions()]
    assert set(words) <= {
        "FROM", "COPY", "RUN", "ENV", "WORKDIR", "USER", "EXPOSE", "HEALTHCHECK", "CMD",
    }  # fmt: skip
    images = {rest.split()[0] for word, rest in instructions() if word == "FROM"}
    assert images == {"python:3.11-slim"}
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert required == ">=3.11"
    user, group = last("USER").split(":")
    assert int(user) > 1000 and int(group) > 1000
    assert words.index("USER") > max(place for place, word in enumerate(words) if word == "RUN")
    assert "--no-cache-dir" in last("RUN")
    assert isinstance(json.loads(last("CMD")), list)


def test_what_is_copied_exists_and_is_let_through():
    ignored = (ROOT / ".dockerignore").read_text().split()
    for rest in [rest for word, rest in instructions() if word == "COPY" and "--from" not in rest]:
        *sources, _ = rest.split()
        for source in sources:
            assert (ROOT / source).exists()
            assert f"!{source}" in ignored


def test_the_pip_line_names_extras_that_hold_all_that_is_imported(tmp_path):
    [line] = [rest for word, rest in instructions() if word == "RUN"]
    what = shlex.split(line)[-1]
    assert what == "/source[web,video,heic,raw,formats]"
    named = {"web", "video", "heic", "raw", "formats"}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert named <= set(extras["optional-dependencies"])
    modules = {module for each in FORMATS.values() for module in (each.reader, each.writer)}
    assert {EXTRAS[module][1] for module in modules - {LIBVIPS, OWN}} <= named
    source = tmp_path / "source"  # the same files as in the image
    source.mkdir()
    for rest in [rest for word, rest in instructions() if word == "COPY" and "--from" not in rest]:
        for name in rest.split()[:-1]:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    [wheel] = (source / "dist").glob("*.whl")
    names = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", wheel], capture_output=True, text=True, check=True
    ).stdout
    page = ROOT / "src/unhaze/web/site"
    for file in (each for each in page.rglob("*") if each.is_file()):
        assert f"unhaze/web/site/{file.relative_to(page).as_posix()}" in names


def test_commands_are_ones_that_serve_understands():
    for command in (json.loads(last("CMD")), compose()["command"]):
        assert command[:2] == ["unhaze", "serve"]
        context = serve.make_context("serve", command[2:])
        given = context.meta[GIVEN]
        assert given["host"] == "0.0.0.0"
        assert given["port"] == int(last("EXPOSE"))
    assert CliRunner().invoke(serve, ["--no-such-option"]).exit_code == 2


def test_the_compose_example_is_tight():
    service = compose()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"][0].startswith(last("WORKDIR") + ":")
    [port] = service["ports"]
    assert port == f"127.0.0.1:{last('EXPOSE')}:{last('EXPOSE')}"
    assert "UNHAZE_TOKEN" in service["environment"]
    assert service["mem_limit"]


def others_may_run_python() -> bool:
    """Whether any user may use this interpreter: its folders need not be open to all."""
    called = Path(sys.executable)
    places = [each for start in (called, called.resolve()) for each in (start, *start.parents)]
    return all(each.stat().st_mode & 0o001 for each in (*places, *ROOT.parents))


@contextmanager
def container(folder: Path, port: int) -> Iterator[subprocess.Popen]:
    """The image's command without HOME, in a place where only TMPDIR can be written."""
    command = [*json.loads(last("CMD"))[1:], "--port", str(port)]
    for each in (folder / "read-only", folder / "tmp"):
        each.mkdir()
    (folder / "read-only").chmod(0o555)
    (folder / "tmp").chmod(0o777)
    environment = {"PATH": os.defpath, "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    user = int(last("USER").split(":")[0])
    as_user = user if os.geteuid() == 0 and others_may_run_python() else None
    process = subprocess.Popen(
        [sys.executable, "-c", READ_ONLY, *command],
        cwd=folder / "read-only",
        env=environment,
        user=as_user,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def is_healthy(port: int) -> bool:
    """The image's health check, its port changed."""
    words = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    words = [sys.executable, *(word.replace(":8000", f":{port}") for word in words[1:])]
    return subprocess.run(words, capture_output=True, timeout=20).returncode == 0


@pytest.mark.slow
def test_the_command_serves_where_nothing_can_be_written(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert not is_healthy(port)
    with container(tmp_path, port) as process:
        wait_until(lambda: is_healthy(port) or process.poll() is not None, 60)
        assert process.poll() is None, process.stderr.read()
        photo = hazy_photo()
        url = f"http://127.0.0.1:{port}/v1/dehaze?name=a.jpg"
        with urllib.request.urlopen(urllib.request.Request(url, photo), timeout=60) as answer:
            assert same_but_colours(photo, answer.read())
    assert not list((tmp_path / "tmp").glob("unhaze*"))  # stopped by a signal, it leaves nothing
    assert "anyone who can reach this address" in process.stderr.read()


def test_a_broken_option_ends_in_one_line():
    command = [sys.executable, "-m", "unhaze", "serve", "--origin", "*"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("unhaze: error: origin '*'")
    assert len(done.stderr.splitlines()) == 1
