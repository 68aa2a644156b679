"""The house rules of docs/design.md that a program can check."""

import ast
import builtins
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("src", "tests", "tools", "benchmarks")
FILES = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
SOURCES = [file for file in FILES if file.is_relative_to(ROOT / "src")]

FORBIDDEN_NAMES = ("utils", "util", "core", "common", "helpers", "misc")
FORBIDDEN_WORDS = {"x", "y", "gt", "lq", "hq", "opt", "cfg", "fake_B", "kwargs"}
BASES = {"nn.Module", "Dataset", "Protocol", "torch.autograd.Function", "UnhazeError"}
BASES |= {
    name
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, Exception)
}
BASES_ONCE = {
    "src/unhaze/methods/muon.py": {"torch.optim.Optimizer"},
    "src/unhaze/nets/deform_conv.py": {"ctypes.Structure"},
    "src/unhaze/convolution/layers.py": {
        "nn.Conv2d",
        "nn.ConvTranspose2d",
        "nn.AdaptiveAvgPool2d",
    },
    "src/unhaze/convolution/winograd.py": {"ctypes.Structure"},
    "src/unhaze/cli/places.py": {"click.Path"},
    "src/unhaze/restore/field.py": {"ctypes.Structure"},
    "src/unhaze/restore/native.py": {"Model"},  # a protocol
    "src/unhaze/web/parameters.py": {"BaseModel", "Asked"},  # for type checkers only
}


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def over(files: list[Path]) -> Callable[[Callable[[Path], None]], Callable[[], None]]:
    """Makes one test of a check of one file: it fails with the faults of all `files`."""

    def of_all(check: Callable[[Path], None]) -> Callable[[], None]:
        def test() -> None:
            faults = []
            for file in files:
                try:
                    check(file)
                except AssertionError as error:
                    faults.append(f"{name_of(file)}: {error}")
            assert not faults, "\n".join(faults)

        test.__name__ = check.__name__
        return test

    return of_all


every_file = over(FILES)
every_source = over(SOURCES)


@functools.cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@functools.cache
def every_node(file: Path) -> list[ast.AST]:
    return list(ast.walk(tree_of(file)))


def nodes(file: Path, *kinds: type) -> Iterator[ast.AST]:
    return (node for node in every_node(file) if isinstance(node, kinds))


def is_public(name: str) -> bool:
    return not name.startswith("_")


@every_file
def test_files_and_functions_are_short(file: Path):
    most = 350 if file.is_relative_to(ROOT / "src") else 400
    assert len(file.read_text(encoding="utf-8").splitlines()) <= most
    for function in nodes(file, ast.FunctionDef, ast.AsyncFunctionDef):
        assert function.end_lineno - function.lineno < 60, function.name


@every_file
def test_files_say_what_they_are_for(file: Path):
    tree = tree_of(file)
    assert ast.get_docstring(tree) or not tree.body


@every_file
def test_nothing_is_called_utils(file: Path):
    for part in file.relative_to(ROOT).with_suffix("").parts:
        assert part not in FORBIDDEN_NAMES
        assert not part.startswith("base_")


@every_file
def test_no_exception_is_swallowed(file: Path):
    for handler in nodes(file, ast.ExceptHandler):
        caught = ast.unparse(handler.type) if handler.type else "everything"
        broad = {"everything", "Exception", "BaseException"}
        assert not broad & {each.strip(" ()") for each in caught.split(",")}, handler.lineno


@every_file
def test_no_check_is_switched_off(file: Path):
    text = file.read_text(encoding="utf-8")
    for switch in ("# no" + "qa", "# type: " + "ignore", "TO" + "DO", "FIX" + "ME"):
        assert switch not in text


@every_source
def test_no_eval(file: Path):
    called = {ast.unparse(call.func) for call in nodes(file, ast.Call)}
    assert not called & {"eval", "exec", "pickle.load", "pickle.loads", "os.system"}


@every_source
def test_only_modules_datasets_and_exceptions_are_subclassed(file: Path):
    allowed = BASES | BASES_ONCE.get(name_of(file), set())
    for each in nodes(file, ast.ClassDef):
        bases = {ast.unparse(base).partition("[")[0] for base in each.bases}
        assert bases <= allowed, each.name


@every_source
def test_arguments_are_spelled_out_and_typed(file: Path):
    for function in nodes(file, ast.FunctionDef, ast.AsyncFunctionDef):
        given = function.args
        arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs]
        arguments += [each for each in (given.vararg, given.kwarg) if each is not None]
        assert not {each.arg for each in arguments} & FORBIDDEN_WORDS, function.name
        if is_public(function.name):
            typed = [each for each in arguments if each.arg not in ("self", "cls")]
            untyped = [each.arg for each in typed if each.annotation is None]
            assert not untyped, f"{function.name}: {untyped}"
            assert function.returns is not None, f"{function.name}: no return type"


@every_source
def test_public_functions_and_classes_have_a_docstring(file: Path):
    tree = tree_of(file)
    for each in tree.body:
        if isinstance(each, ast.FunctionDef | ast.ClassDef) and is_public(each.name):
            assert ast.get_docstring(each), each.name


def test_no_file_was_overlooked():
    assert name_of(Path(__file__)) in {name_of(file) for file in FILES}
    assert len(SOURCES) > 10
