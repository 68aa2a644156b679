"""Names of files and folders that are none: one line, status 2, and nothing read or written."""

import click
import pytest

from unhaze.batch import Work, restore_folder
from unhaze.cli import VERBS, command_of, main
from unhaze.errors import UnhazeError


def commands(group: click.Command, words: tuple[str, ...]):
    """Yields each command below and the words that call it."""
    if not isinstance(group, click.Group):
        yield words, group
        return
    for name, command in group.commands.items():
        yield from commands(command, (*words, name))


def cases():
    """Each parameter that names a file or folder, empty, and all that must be given besides."""
    for verb in VERBS:
        for words, command in commands(command_of(verb), (verb,)):
            needed = [each for each in command.params if each.required]
            for each in command.params:
                if not isinstance(each.type, click.Path):
                    continue
                given = list(words)
                for other in {param.name: param for param in [*needed, each]}.values():
                    option = [other.opts[-1]] if isinstance(other, click.Option) else []
                    given += [*option, "" if other is each else "x"]
                yield pytest.param(given, id=" ".join([*words, each.opts[-1]]))


@pytest.mark.parametrize("given", list(cases()))
def test_an_empty_name_is_not_this_folder(given, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(given) == 2
    error = capfd.readouterr().err
    assert "the name is empty" in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_commands_that_take_names_refuse_empty_ones():
    found = {case.id for case in cases()}
    for each in ("run --out", "batch source", "batch target", "batch --manifest", "eval --save"):
        assert each in found


@pytest.mark.parametrize("folder", ["/", ".", ".."])
def test_a_preview_of_a_folder_is_refused(folder, capfd):
    assert main(["preview", folder]) == 2
    assert f"'{folder}' is a folder; give a video" in capfd.readouterr().err


@pytest.mark.parametrize(("source", "target"), [("", "out"), (".", "")])
def test_a_batch_from_python_is_not_of_this_folder_either(source, target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnhazeError, match="empty name"):
        restore_folder(Work(source, target))
