"""What surrounds the code agrees with it: versions, supported Pythons, workflows, distributions."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
WORKFLOWS = {
    file.name: yaml.safe_load(file.read_text(encoding="utf-8"))
    for file in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
}
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))


def commands() -> list[str]:
    """Every command line of the workflows."""
    jobs = [job for workflow in WORKFLOWS.values() for job in workflow["jobs"].values()]
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def release(*words: str) -> subprocess.CompletedProcess:
    program = [sys.executable, str(ROOT / ".ci" / "release.py"), *words]
    return subprocess.run(program, capture_output=True, text=True)


def test_the_version_may_be_released():
    done = release(f"v{PROJECT['version']}", "--repository", PROJECT["urls"]["Repository"])
    assert done.returncode == 0, done.stderr
    assert "### Added" in done.stdout and "\n## " not in done.stdout


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["v0.0.1"], "the tag is 'v0.0.1'"),
        ([f"v{PROJECT['version']}", "--repository", "https://github.com/fork/unhaze"], "fork"),
    ],
)
def test_another_tag_or_repository_is_not_released(words, why):
    done = release(*words)
    assert done.returncode == 1 and why in done.stderr


def test_one_address_is_named_everywhere():
    home = PROJECT["urls"]["Repository"]
    owner, name = home.removeprefix("https://github.com/").split("/")
    site = f"https://{owner}.github.io/{name}/"
    for url in PROJECT["urls"].values():
        assert url == site or url.startswith(home)
    pages = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert f"\nrepo_url: {home}\n" in pages and f"\nsite_url: {site}\n" in pages
    assert f"\nrepository-code: {home}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_pythons_that_are_promised_are_tested():
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert WORKFLOWS["ci.yml"]["jobs"]["tests"]["strategy"]["matrix"]["python"] == promised
    assert PROJECT["requires-python"] == f">={promised[0]}"


def test_workflows_run_files_that_exist():
    named = re.findall(r"(?:\.ci|tests|samples)/[\w./]+", "\n".join(commands()))
    assert {".ci/distributions", ".ci/release.py", "tests/smoke"} <= set(named)
    for name in named:
        assert (ROOT / name).exists(), name


def test_hooks_are_programs_of_the_development_install():
    extra = " ".join(PROJECT["optional-dependencies"]["dev"])
    programs = {"end-of-file-fixer", "trailing-whitespace-fixer", "check-toml"}
    programs |= {"check-merge-conflict", "check-added-large-files"}  # of pre-commit-hooks
    for hook in HOOKS["repos"][0]["hooks"]:
        program = hook["entry"].split()[0]
        assert "pre-commit-hooks" in extra if program in programs else program in extra


def test_what_the_sdist_includes_exists():
    for name in PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]:
        assert (ROOT / name).exists(), name
