"""The documentation says what is true: commands parse, files exist, tables are up to date."""

import ast
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

import unhaze
from tools.report.formats import update_page
from tools.report.readme import update_tables
from unhaze.cli import command_of, main, with_verb

ROOT = Path(__file__).parents[2]
ABOUT = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
PAGES = [ROOT / name for name in ABOUT]
PAGES += [ROOT / "samples" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
README = TEXTS["README.md"]

TRY_IT = "pip install . && unhaze samples/valley.jpg"
TEST_IT = 'pip install -e ".[dev]" && pytest'


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def unhaze_lines() -> list[tuple[str, str]]:
    """Every line of a shell block that runs unhaze, with the page it is on."""
    lines = []
    for name, text in TEXTS.items():
        for block in code_blocks(text, "sh"):
            whole = block.replace("\\\n", " ")
            lines += [(name, line) for line in whole.splitlines() if re.search(r"\bunhaze ", line)]
    return lines


def words_of(line: str) -> list[str]:
    """The arguments of the (last) unhaze in a shell line, without comment and redirections."""
    words = shlex.split(line, comments=True)
    start = len(words) - words[::-1].index("unhaze")
    words = words[start:]
    ends = [index for index, word in enumerate(words) if word in ("|", "&&", "<", ">")]
    return words[: ends[0]] if ends else words


def parse(words: list[str]) -> click.Context:
    """Parses as the command would, and runs nothing. A click error means that it would refuse."""
    verb, *rest = with_verb(words)
    command = command_of(verb)
    alone = isinstance(command, click.Group) and command.invoke_without_command
    if isinstance(command, click.Group) and not (alone and (not rest or rest[0].startswith("-"))):
        name, *rest = rest
        assert name in command.commands, f"unhaze {verb} has no '{name}'"
        command = command.commands[name]
    return command.make_context(verb, rest)


@pytest.mark.parametrize(("page", "line"), unhaze_lines())
def test_every_unhaze_line_parses(page: str, line: str):
    parse(words_of(line))


def test_the_parser_refuses_what_does_not_exist():
    for wrong in ("unhaze photo.jpg --stength 1", "unhaze eval", "unhaze train a.toml --chek"):
        with pytest.raises(click.UsageError):
            parse(words_of(wrong))


def test_the_readme_opens_with_the_picture_and_has_two_commands():
    lines = README.splitlines()
    assert lines[0].startswith("![")
    first_blocks = code_blocks(README, "sh")[:2]
    assert [block.strip() for block in first_blocks] == [TRY_IT, TEST_IT]


def test_continuous_integration_runs_the_commands_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert script.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in script
    pattern = re.search(r'grep -E "(.*?)\$1"', script)[1]
    for command, last in ((TRY_IT, "unhaze"), (TEST_IT, "pytest")):
        found = re.findall(f"{pattern}{last}.*$", README, flags=re.MULTILINE)
        assert found == [command]
        assert f"readme_command {last})" in script
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)


def test_makefile_and_continuous_integration_install_the_same():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    torch = set(re.findall(r"torch==[\d.]+", makefile + script))
    assert len(torch) == 1
    assert '-e ".[dev]"' in README
    for text in (makefile, script):
        assert '-e ".[dev,docs]"' in text
    for target in re.findall(r"\bmake (\w+)", "\n".join(TEXTS.values())):
        if target in ("venv", "test", "lint", "tables", "pictures", "ci"):
            assert f"\n{target}:" in makefile
    for path in re.findall(r"\b(?:tools|\.ci)/\w+(?:\.py)?", makefile):
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize("page", TEXTS)
def test_linked_and_named_files_exist(page: str):
    text = TEXTS[page]
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
    for link in links:
        assert ((ROOT / page).parent / link).exists(), link
    for name in re.findall(r"\b(?:recipes|tools|samples|tests)/[\w/.-]+\.(?:toml|py|jpg)", text):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("page", TEXTS)
def test_python_examples_use_public_names(page: str):
    for block in code_blocks(TEXTS[page], "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module == "unhaze":
                assert {alias.name for alias in node.names} <= set(unhaze.__all__)


def test_pages_keep_to_themselves():
    for name, text in TEXTS.items():
        assert "/work/" not in text and "../shared" not in text, name


def test_the_page_of_the_papers_tables_is_up_to_date(monkeypatch, capsys):
    pytest.importorskip("torch")
    monkeypatch.chdir(ROOT)
    assert main(["report", "paper", "--markdown"]) == 0
    assert capsys.readouterr().out == TEXTS["docs/paper.md"], "make tables"


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_tables_are_up_to_date(page: str):
    assert not update_tables(ROOT / page, ROOT / "results", check=True), "make tables"


def test_the_tables_of_formats_are_up_to_date():
    assert not update_page(ROOT / "docs" / "use.md", check=True), "make tables"


def test_the_readme_is_short():
    assert len(README.splitlines()) < 150
