"""What "auto" in [hardware] means: bfloat16 and compiling where the machine gains from them."""

import dataclasses

import pytest

from unhaze import hardware
from unhaze.config import Part, Recipe, load_config
from unhaze.errors import UnhazeError
from unhaze.recipe_layers import SHIPPED
from unhaze.training import machine
from unhaze.training.machine import fitted

AUTO = Recipe(title="any", net=Part("aecr"), data=Part("rgbd"))
AUTO = dataclasses.replace(
    AUTO, hardware=dataclasses.replace(AUTO.hardware, precision="auto", compile="auto")
)


@pytest.mark.parametrize(
    "flags, compiler, steps, expected",
    [
        ({"avx2", "amx_bf16"}, "/usr/bin/c++", 5000, ("bf16-mixed", "default")),
        ({"avx2", "amx_bf16"}, "/usr/bin/c++", 50, ("bf16-mixed", "none")),
        ({"avx2", "amx_bf16"}, None, 5000, ("bf16-mixed", "none")),
        ({"avx2", "avx512_bf16"}, "/usr/bin/c++", 5000, ("bf16-mixed", "default")),
        ({"avx2"}, "/usr/bin/c++", 5000, ("32-true", "none")),
    ],
)
def test_auto_goes_by_the_processor(flags, compiler, steps, expected, monkeypatch):
    monkeypatch.setattr(machine.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine, "cpu_flags", lambda: flags)
    monkeypatch.setattr(machine.shutil, "which", lambda name: compiler)
    recipe = dataclasses.replace(AUTO, schedule=dataclasses.replace(AUTO.schedule, steps=steps))
    settled = fitted(recipe)
    assert (settled.hardware.precision, settled.hardware.compile) == expected
    assert dataclasses.replace(settled, hardware=recipe.hardware) == recipe
    assert fitted(settled) == settled


def test_what_is_said_stays_and_what_is_not_known_is_refused():
    said = load_config(SHIPPED / "photo" / "photo.toml")
    assert fitted(said) == said
    wrong = dataclasses.replace(AUTO.hardware, precision="fp8")
    with pytest.raises(UnhazeError, match="bf16-mixed"):
        fitted(dataclasses.replace(AUTO, hardware=wrong))


def test_the_flags_of_a_processor_are_read(tmp_path, monkeypatch):
    text = "processor\t: 0\nmodel name\t: X\nflags\t\t: fpu avx2 amx_bf16\n\nflags\t\t: no\n"
    monkeypatch.setattr(hardware.Path, "read_text", lambda self, encoding: text)
    assert hardware.cpu_flags() == {"fpu", "avx2", "amx_bf16"}
