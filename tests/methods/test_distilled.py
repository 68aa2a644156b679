"""A student imitates a frozen teacher: gradients, state, exact resume, and messages."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.nn import functional

from unhaze.config import LossPart, Optimizer, Part, Recipe, load_config
from unhaze.data import PairedBatch
from unhaze.errors import UnhazeError
from unhaze.losses import create_loss
from unhaze.methods.distilled import Distilled, digest
from unhaze.methods.steps import Setup, Supervised
from unhaze.nets import create_net
from unhaze.tensors import load_tensors
from unhaze.training import train
from unhaze.weights import load_weights, newest_state, save_weights

TINY = Path(__file__).parents[2] / "samples" / "tiny"
TEACHER = Part("kddn-teacher", {"width": 8, "blocks": 6})
STUDENT = Part("kddn", {"width": 8, "groups": 6, "blocks": 1})


def write_teacher(path: Path, *, seed: int = 1, part: Part = TEACHER) -> Path:
    torch.manual_seed(seed)
    save_weights(path, create_net(part.name, **part.arguments), part)
    return path


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return write_teacher(tmp_path / "teacher.safetensors")


def setup_of(net: nn.Module, losses=("l1",)) -> Setup:
    return Setup(
        fabric=Fabric(accelerator="cpu"),
        net=net,
        forward=net,
        losses={name: create_loss(name) for name in losses},
        weights=dict.fromkeys(losses, 1.0),
        optimizer=Optimizer(lr=1e-3),
        clip=0.0,
    )


def build(teacher: Path, *, student: Part = STUDENT, losses=("l1",), **arguments) -> Distilled:
    torch.manual_seed(2)
    net = create_net(student.name, **student.arguments)
    return Distilled(setup_of(net, losses), teacher=str(teacher), **arguments)


def batch() -> PairedBatch:
    torch.manual_seed(3)
    return PairedBatch(hazy=torch.rand(2, 3, 16, 20), clear=torch.rand(2, 3, 16, 20))


@pytest.fixture
def recipe(teacher: Path) -> Recipe:
    data = Part("rgbd", {"root": str(TINY)})
    method = Part("distilled", {"teacher": str(teacher)})
    recipe = Recipe("student", STUDENT, data, {"l1": LossPart()}, method=method)
    schedule = dataclasses.replace(recipe.schedule, steps=4, batch=2)
    augment = dataclasses.replace(recipe.augment, crop=16)
    watch = dataclasses.replace(recipe.watch, log_every=1)
    return dataclasses.replace(recipe, schedule=schedule, augment=augment, watch=watch)


def test_terms_by_hand(teacher: Path):
    """The teacher sees the clear pictures, the student the hazy ones, at three depths."""
    method, pair = build(teacher, imitation=0.5, depths=(1, 3, 6)), batch()
    terms = method.measure(pair)
    with torch.no_grad():
        restored, seen = method.networks["restorer"](pair.hazy, features=True)
        _, taught = load_weights(teacher).net(pair.clear, features=True)
    imitation = sum(functional.l1_loss(seen[k - 1], taught[k - 1]) for k in (1, 3, 6))
    torch.testing.assert_close(terms["imitation"], imitation)
    torch.testing.assert_close(terms["l1"], functional.l1_loss(restored, pair.clear))
    torch.testing.assert_close(terms["total"], terms["l1"] + 0.5 * imitation)


def test_outputs_by_hand(tmp_path: Path):
    """Any two networks will do: what the teacher makes of the hazy picture is the second truth."""
    part = Part("quarter", {"width": 4})
    method = build(
        write_teacher(tmp_path / "t.safetensors", part=part),
        student=part,
        imitation=0.0,
        outputs=0.5,
    )
    pair = batch()
    terms = method.measure(pair)
    with torch.no_grad():
        restored, taught = (net(pair.hazy) for net in (method.networks["restorer"], method.teacher))
    torch.testing.assert_close(terms["outputs"], functional.l1_loss(restored, taught))
    torch.testing.assert_close(terms["total"], terms["l1"] + 0.5 * terms["outputs"])
    assert terms.keys() == {"l1", "outputs", "total"}


def test_the_former_name_of_a_key_leads_to_the_new_one(recipe: Recipe):
    method = Part("distilled", recipe.method.arguments | {"answers": 1.0})
    with pytest.raises(UnhazeError, match="no argument 'answers'; did you mean 'outputs'"):
        train(dataclasses.replace(recipe, method=method), check=True)


def test_by_default_the_last_of_each_third(teacher: Path):
    assert build(teacher).depths == (2, 4, 6)


def test_the_student_learns_and_the_teacher_does_not(teacher: Path):
    method, pair = build(teacher), batch()
    before = digest(method.teacher)
    first = method.step([pair], 3e-3)
    for _ in range(15):
        last = method.step([pair], 3e-3)
    assert last["imitation"] < 0.8 * first["imitation"]
    assert digest(method.teacher) == before == method.facts["teacher_sha256"]
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    assert not method.teacher.training


def test_the_state_holds_the_student_alone(recipe: Recipe, tmp_path: Path):
    train(recipe, out=tmp_path / "run")
    state = newest_state(tmp_path / "run")
    names = sorted(file.name for file in state.iterdir())
    assert names == [
        "ema.safetensors", "optimizer-restorer.safetensors", "progress.json",
        "restorer.safetensors",
    ]  # fmt: skip
    own = create_net(STUDENT.name, **STUDENT.arguments).state_dict()
    assert load_tensors(state, "restorer")[0].keys() == own.keys()
    assert load_weights(tmp_path / "run").part == STUDENT


def test_resume_is_exact_and_wants_the_same_teacher(recipe: Recipe, tmp_path: Path):
    """The teacher's file may move, its weights may not change."""
    whole = with_schedule(recipe, decay="none")
    train(whole, out=tmp_path / "whole")
    train(with_schedule(whole, steps=2), out=tmp_path / "parts")
    shutil.copy(tmp_path / "teacher.safetensors", tmp_path / "moved.safetensors")
    moved = Part("distilled", {"teacher": str(tmp_path / "moved.safetensors")})
    train(dataclasses.replace(whole, method=moved), resume=tmp_path / "parts")
    one, other = (
        load_tensors(newest_state(tmp_path / run), "restorer")[0] for run in ("whole", "parts")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    write_teacher(tmp_path / "teacher.safetensors", seed=9)
    with pytest.raises(UnhazeError, match="cannot be resumed: teacher_sha256 was .* restore"):
        train(whole, resume=tmp_path / "parts")


def with_schedule(recipe: Recipe, **changes) -> Recipe:
    schedule = dataclasses.replace(recipe.schedule, **changes)
    return dataclasses.replace(recipe, schedule=schedule)


def test_a_trained_teacher_is_a_run_folder(recipe: Recipe, tmp_path: Path):
    """The whole way: an autoencoder of clear pictures learns, and a student takes its run."""
    alone = with_schedule(recipe, steps=60, ema=0.9)
    alone = dataclasses.replace(
        alone,
        net=TEACHER,
        method=Part("supervised", {"input": "clear"}),
        optimizer=dataclasses.replace(recipe.optimizer, lr=3e-3),
        validation=Part("rgbd", {"root": str(TINY), "beta": [0, 0]}),
    )
    untrained = train(alone, check=True).psnr
    assert train(alone, out=tmp_path / "teacher").psnr > untrained + 3
    run = Part("distilled", {"teacher": str(tmp_path / "teacher")})
    result = train(dataclasses.replace(recipe, method=run), out=tmp_path / "student")
    assert result.finished
    assert '"imitation"' in (tmp_path / "student" / "log.jsonl").read_text()


def test_an_autoencoder_never_sees_haze():
    """Its loss on a clear batch is the same whatever the hazy side holds."""
    torch.manual_seed(2)
    net = create_net(TEACHER.name, **TEACHER.arguments)
    method = Supervised(setup_of(net), input="clear")
    pair = batch()
    expected = functional.l1_loss(net(pair.clear), pair.clear)
    torch.testing.assert_close(method.measure(pair)["l1"], expected)
    other = PairedBatch(hazy=1 - pair.hazy, clear=pair.clear)
    assert torch.equal(method.measure(other)["l1"], method.measure(pair)["l1"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depths": (0, 2)}, r"depths are \[0, 2\]; expected some from 1 to 6"),
        ({"depths": (7,)}, r"depths are \[7\]"),
        ({"depths": ()}, r"depths are \[\]"),
        ({"imitation": -1.0}, "imitation is -1.0"),
        ({"imitation": float("nan")}, "imitation is nan"),
        ({"losses": ()}, "has no loss"),
        ({"student": Part("aecr", {"width": 8})}, "AECRNet has no features to compare"),
        ({"student": Part("kddn", STUDENT.arguments | {"width": 16})}, "the same width"),
    ],
)
def test_mistakes_have_one_line_each(teacher: Path, arguments, message):
    with pytest.raises(UnhazeError, match=message) as raised:
        build(teacher, **arguments)
    assert "\n" not in str(raised.value)


def test_a_teacher_that_does_not_exist(tmp_path: Path):
    other = write_teacher(tmp_path / "other.safetensors", part=Part("aecr", {"width": 8}))
    with pytest.raises(UnhazeError, match="set the teacher to a network that has"):
        build(other)
    with pytest.raises(UnhazeError, match="absent"):
        build(tmp_path / "absent.safetensors")


def test_the_recipe_names_its_teacher(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = TINY.parents[1] / "recipes" / "table1" / "kddn.toml"
    recipe = load_config(path, ["losses.perceptual.weights=random", "augment.crop=48"])
    data = Part("rgbd", {"root": str(TINY.parents[1] / "samples" / "tiny")})
    recipe = dataclasses.replace(recipe, data=data, validation=None)
    with pytest.raises(UnhazeError, match="no teacher 'runs/kddn-teacher'; train one first"):
        train(recipe, check=True)
