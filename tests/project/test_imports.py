"""Imports point down (docs/design.md, "Levels"), and the light half never loads the heavy one."""

import ast
import os
import pydoc
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
FILES = sorted(SOURCE.rglob("*.py"))

# The levels of docs/design.md. Levels 0 and 2 have an order of their own, as fractions.
LEVELS = {
    "errors": 0,
    "hardware": 0,
    "scratch": 0,
    "processes": 0,
    "validation": 0.1,
    "plugins": 0.15,
    "extras": 0.1,
    "cache": 0,
    "tables": 0,
    "compiled": 0.15,
    "atomic": 0.1,
    "convolution": 0.2,
    "recipe_layers": 0.1,
    "formats": 0.1,
    "outputs": 0.15,
    "config": 0.2,
    "photo": 0.2,
    "haze": 0.2,
    "fetch": 0.2,
    "tensors": 0.2,
    "image": 0.1,
    "restore": 1,
    "nets": 1,
    "losses": 1,
    "data": 1,
    "metrics": 0.3,
    "zoo": 0.3,
    "weights": 2,
    "resolved": 2,
    "published": 2.05,
    "methods": 2.1,
    "runs": 2,
    "training": 3,
    "evaluation": 3,
    "exporting": 3,
    "report": 3.1,
    "batch": 3,
    "web": 3,
    "api": 4,
    "cli": 4,
    "__init__": 4,
    "contracts": 4,
    "__main__": 4.1,
}
LEARNING = {"torch", "lightning", "lightning_fabric", "safetensors", "onnx", "onnxscript"}
LEARNING |= {"tensorboard", "tqdm", "tomli_w"}
NETWORK = {"aiohttp", "ftplib", "http", "httpx", "requests", "socket", "socketserver", "ssl"}
NETWORK |= {"telnetlib", "urllib", "urllib3", "websockets"}


def part_of(file: Path) -> str:
    """src/unhaze/nets/aecr.py -> nets; src/unhaze/api.py -> api."""
    return file.relative_to(SOURCE / "unhaze").parts[0].removesuffix(".py")


def imports(file: Path, *, typing: bool = True, inside: bool = True) -> Iterator[str]:
    """Dotted names that the import statements of `file` bring in.

    typing: also those under `if TYPE_CHECKING`. inside: also those inside functions.
    """
    waiting: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not typing:
            waiting += node.orelse
        elif inside or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += ast.iter_child_nodes(node)


def own_parts(file: Path) -> set[str]:
    """The parts of unhaze that `file` imports, its own folder left out."""
    parts = {name.split(".")[1] for name in imports(file) if name.startswith("unhaze.")}
    return {part if part in LEVELS else "__init__" for part in parts} - {part_of(file)}


def packages(file: Path, **which: bool) -> set[str]:
    return {name.split(".")[0] for name in imports(file, **which)}


def test_every_file_has_a_level():
    assert {part_of(file) for file in FILES} <= LEVELS.keys()


def test_imports_point_down():
    # The package's own file names its public things for type checkers only, and may point anywhere.
    upward = {
        str(file.relative_to(SOURCE)): [
            part for part in own_parts(file) if LEVELS[part] >= LEVELS[part_of(file)]
        ]
        for file in FILES
        if file != SOURCE / "unhaze" / "__init__.py"
    }
    assert not {name: parts for name, parts in upward.items() if parts}


def test_only_fetch_opens_the_network():
    others = [file for file in FILES if part_of(file) != "fetch"]
    assert len(others) > 100
    assert not {str(file): packages(file) & NETWORK for file in others if packages(file) & NETWORK}


@pytest.mark.parametrize(
    "part",
    [
        "errors",
        "validation",
        "extras",
        "photo",
        "haze",
        "fetch",
        "restore",
        "metrics",
        "batch",
        "web",
    ],
)
def test_the_runtime_half_never_imports_the_learning_half(part: str):
    files = [file for file in FILES if part_of(file) == part]
    assert files
    for file in files:
        assert not packages(file, typing=False) & LEARNING, file


@pytest.mark.parametrize("part", ["cli", "__init__", "__main__", "api"])
def test_surfaces_import_the_heavy_inside_functions(part: str):
    heavy = LEARNING | {"numpy", "onnxruntime", "pyvips", "PIL"}
    files = [file for file in FILES if part_of(file) == part]
    assert files
    for file in files:
        assert not packages(file, typing=False, inside=False) & heavy, file


def loaded_after(statement: str) -> set[str]:
    """Top-level modules in memory after `statement` ran in a fresh Python."""
    program = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import unhaze; dir(unhaze)",
        "import unhaze.__main__",
        "from unhaze.cli import VERBS, command_of; [command_of(verb) for verb in VERBS]",
    ],
)
def test_importing_is_light(statement: str):
    heavy = LEARNING | {"numpy", "onnxruntime", "pyvips", "PIL"}
    assert not loaded_after(statement) & heavy


def test_a_photo_loads_no_more_than_it_needs(tmp_path: Path):
    (tmp_path / "photo.pgm").write_bytes(b"P5 4 4 255 " + bytes(16))
    words = ["run", str(tmp_path / "photo.pgm"), "--quiet"]
    loaded = loaded_after(f"from unhaze.cli import main; assert main({words}) == 0")
    assert "onnxruntime" in loaded
    assert not loaded & (LEARNING | {"av", "email", "hmac", "http", "secrets", "ssl"})
    assert not loaded & {"decimal", "difflib", "random", "tarfile", "tempfile", "zipfile"}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="Linux says what threads run")
def test_numpy_starts_no_threads_for_a_photo():
    words = ["unhaze", "run", "none.jpg"]
    program = f"import os, sys; sys.argv = {words}; from unhaze.cli import main; main()"
    program += "; import numpy; print(len(os.listdir('/proc/self/task')))"
    free = {key: value for key, value in os.environ.items() if key != "OPENBLAS_NUM_THREADS"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=free)
    assert done.stdout.split() == ["1"]


@pytest.mark.parametrize(
    "module",
    [
        "restore.restorer",
        "restore.models",
        "restore.video",
        "batch",
        "api",
        "metrics",
        "data.catalog",
    ],
)
def test_the_default_install_is_enough(module: str):
    loaded = loaded_after(f"import unhaze.{module}")
    assert {"unhaze", "numpy"} & loaded
    assert not loaded & LEARNING


def test_help_is_quick():
    # Processor time: the program waits for nothing, and other work on the machine must not count.
    times = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, "-m", "unhaze", "--help"], capture_output=True, check=True)
        after = os.times()
        user = after.children_user - before.children_user
        times.append(user + after.children_system - before.children_system)
    assert min(times) < 0.3, times


def test_help_loads_nothing_heavy():
    program = [sys.executable, "-X", "importtime", "-m", "unhaze", "--help"]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "click" in loaded
    assert not loaded & (LEARNING | {"numpy", "onnxruntime", "pyvips", "PIL"})


def test_every_module_is_found_where_its_name_says():
    """No function takes a module's place, so that imports, pydoc and the API reference work."""
    for extra in ("torch", "fastapi"):
        pytest.importorskip(extra)
    names = [".".join(file.relative_to(SOURCE).with_suffix("").parts) for file in FILES]
    names = [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]
    program = "import functools, sys, unhaze\n"
    program += "\n".join(f"import {name}" for name in names)
    program += "\nfor name in sorted(sys.modules):\n"
    program += "    if name.partition('.')[0] == 'unhaze':\n"
    program += "        found = functools.reduce(getattr, name.split('.')[1:], unhaze)\n"
    program += "        assert found is sys.modules[name], f'{name} is hidden by {found}'\n"
    program += "assert all(callable(getattr(unhaze, name)) for name in unhaze.PUBLIC)\n"
    loaded_after(program)


@pytest.mark.parametrize(
    "path",
    [
        "unhaze.api.dehaze_array",
        "unhaze.cli.train.train",
        "unhaze.image.fitted",
        "unhaze.exporting.graph.to_onnx",
        "unhaze.losses.contrastive.Contrastive",
        "unhaze.metrics.color_difference.ciede2000",
        "unhaze.metrics.fog_density.fade",
        "unhaze.nets.create_net",
        "unhaze.restore.restorer.Restorer",
        "unhaze.training.loop.Trainer",
    ],
)
def test_pydoc_finds_inner_names(path: str):
    if path.split(".")[1] in ("exporting", "losses", "training"):
        pytest.importorskip("torch")
    found = pydoc.locate(path)
    assert found is not None
    assert not isinstance(found, types.ModuleType)


def test_public_names_are_listed_and_load():
    import unhaze

    assert dir(unhaze) == sorted(unhaze.__all__)
    assert set(unhaze.PUBLIC) | {"__version__"} == set(unhaze.__all__)
    with pytest.raises(AttributeError, match="no attribute 'dehase'"):
        _ = unhaze.dehase
    pytest.importorskip("torch")
    for name in unhaze.__all__:
        assert getattr(unhaze, name) is not None
