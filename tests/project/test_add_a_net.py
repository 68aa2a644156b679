"""docs/add-a-net.md, followed to the letter in a copy of the project."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "add-a-net.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The project with the file and the entry of the page."""
    folder = tmp_path_factory.mktemp("project")
    for part in ("src", "tests", "samples/tiny"):  # with what is compiled already
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("*.onnx"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    [file], [entry, _] = blocks("python"), blocks("toml")
    (folder / "src/unhaze/nets/sketch.py").write_text(file, encoding="utf-8")
    table = folder / "src/unhaze/nets/zoo.toml"
    table.write_text(table.read_text(encoding="utf-8") + "\n" + entry, encoding="utf-8")
    return folder


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Python in the copy, which comes before the installed project."""
    everything = {name: value for name, value in os.environ.items() if name != "CI"}
    everything |= {"PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"} | environment
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=everything, capture_output=True, text=True)


def pytest_command() -> list[str]:
    (command,) = blocks("sh")
    program, *arguments = shlex.split(command)
    assert program == "pytest"
    return ["-m", "pytest", "-n0", "-p", "no:cacheprovider", *arguments]


@pytest.mark.slow
def test_the_tests_of_every_network_find_it_and_pass(copy: Path):
    record = copy / "tests/data/golden_nets.json"
    assert "sketch/None" not in json.loads(record.read_text())
    done = run(copy, *pytest_command(), "-rA")
    assert done.returncode == 0, done.stdout
    passed = set(re.findall(r"PASSED tests/([\w/]+)\.py::\w+\[sketch", done.stdout))
    assert passed == set(re.findall(r"tests/([\w/]+)\.py", " ".join(pytest_command())))
    assert "sketch/None" in json.loads(record.read_text())


@pytest.mark.slow
def test_they_notice_mistakes(copy: Path, tmp_path: Path):
    """No crop at the end, a parameter without use, another start: each has a test that fails."""
    broken = tmp_path / "broken"
    shutil.copytree(copy, broken)
    file = broken / "src/unhaze/nets/sketch.py"
    text = file.read_text(encoding="utf-8")
    text = text.replace("[..., :height, :width]", "")
    text = text.replace(
        "        self.middle", "        self.unused = nn.Conv2d(3, 3, 1)\n        self.middle"
    )
    file.write_text(text, encoding="utf-8")
    noticing = ["any_size", "every_parameter", "first_losses"]
    named = ["tests/nets/test_nets.py", "tests/nets/test_golden.py", "-n0", "-rf"]
    named += ["-k", f"sketch and ({' or '.join(noticing)})"]
    done = run(broken, "-m", "pytest", "-p", "no:cacheprovider", *named, CI="1")
    failed = re.findall(r"FAILED tests/[\w/]+\.py::test_(\w+)\[sketch", done.stdout)
    assert len(failed) == len(noticing), done.stdout
    assert all(name.startswith(start) for name, start in zip(sorted(failed), noticing))


def test_its_recipe_trains_and_its_entry_is_listed(copy: Path):
    _, recipe = blocks("toml")
    (copy / "sketch.toml").write_text(recipe, encoding="utf-8")
    offline = ("--set", "losses.contrastive.weights=random")
    done = run(copy, "-m", "unhaze", "train", "sketch.toml", "--check", *offline)
    assert done.returncode == 0, done.stderr
    listed = run(copy, "-m", "unhaze", "list", "nets")
    assert re.search(r"^sketch +Sketch", listed.stdout, flags=re.MULTILINE), listed.stdout


def test_the_page_keeps_the_house_rules(copy: Path):
    pytest.importorskip("ruff")
    done = run(
        copy, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), "src/unhaze/nets"
    )
    assert done.returncode == 0, done.stdout
