"""Contract tests of networks, losses, data sets and methods, run on any implementation.

python -m unhaze.contracts net my_package.nets:Sketch width=8
"""

import copy
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from unhaze.config import Augment, Optimizer, Part
from unhaze.data import PairedBatch, PairedData, UnpairedBatch
from unhaze.data.build import create_data
from unhaze.errors import UnhazeError
from unhaze.losses import create_loss
from unhaze.methods import find_method
from unhaze.methods.steps import Setup
from unhaze.nets import create_net, find_net
from unhaze.validation import check_arguments, lookup
from unhaze.weights import load_weights, save_weights

Check = Callable[[], None]
SIZES = ((1, 1), (1, 7), (5, 3), (33, 64))
CROP = 16


class BrokenContract(AssertionError):
    """A failed check: expected and found, in one line."""


def main(words: list[str]) -> int:
    """`KIND NAME [KEY=VALUE ...]`: one line a check on stdout; status 1 if one fails, 2: misuse."""
    if len(words) < 2:
        print("usage: python -m unhaze.contracts net|loss|dataset|method NAME [KEY=VALUE ...]")
        return 2
    torch.manual_seed(0)
    try:
        arguments = tomllib.loads("\n".join(words[2:]))
        checks = lookup(CONTRACTS, words[0], "contract")(words[1], arguments)
        return 1 if [each for each in checks if not passes(each)] else 0
    except (UnhazeError, tomllib.TOMLDecodeError) as error:
        print(f"unhaze: error: {error}", file=sys.stderr)
        return 2


def passes(check: Check) -> bool:
    """Runs one check and prints how it went."""
    name = check.__name__.replace("_", " ")
    try:
        check()
    except (ArithmeticError, AssertionError, AttributeError, KeyError, UnhazeError) as error:
        print(f"FAILED  {name}: {type(error).__name__}: {error}")
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        print(f"FAILED  {name}: {type(error).__name__}: {str(error).splitlines()[0]}")
    else:
        print(f"passed  {name}")
        return True
    return False


def expect(holds: bool, message: str) -> None:
    """BrokenContract with `message` unless it `holds`."""
    if not holds:
        raise BrokenContract(message)


def random_hazy(batch: int, height: int, width: int) -> Tensor:
    """(B,3,H,W) in [0,1], the same for the same size."""
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.rand(batch, 3, height, width, generator=generator)


def net_contract(name: str, arguments: dict[str, Any]) -> Iterator[Check]:
    """hazy (B,3,H,W) in [0,1] -> restored, same shape; pictures independent; exportable."""
    net = create_net(name, **arguments)

    def any_size_in_same_size_out() -> None:
        for height, width in SIZES:
            restored = net.eval()(random_hazy(1, height, width))
            given = f"{height}x{width} in, {tuple(restored.shape)} {restored.dtype} out"
            expect(restored.shape == (1, 3, height, width), given)
            expect(restored.dtype == torch.float32 and bool(restored.isfinite().all()), given)

    def batch_equals_single_pictures() -> None:
        hazy = random_hazy(2, 13, 10)
        singles = torch.cat([net.eval()(hazy[:1]), net.eval()(hazy[1:])])
        difference = (net(hazy) - singles).abs().max().item()
        expect(difference < 1e-4, f"differs by {difference:g} from the pictures alone")

    def every_parameter_gets_a_gradient() -> None:
        trained = copy.deepcopy(net).train()
        trained(random_hazy(2, 20, 24)).square().mean().backward()
        for parameter_name, parameter in trained.named_parameters():
            expect(parameter.grad is not None, f"'{parameter_name}' has none")

    def saved_and_loaded_it_is_the_same() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.safetensors"
            save_weights(path, net, Part(name, arguments))
            loaded = load_weights(path).net
        hazy = random_hazy(1, 12, 9)
        expect(torch.equal(loaded(hazy), net.eval()(hazy)), "another output after loading")

    def exported_it_is_the_same() -> None:
        from unhaze.exporting import export

        with tempfile.TemporaryDirectory() as folder:
            save_weights(Path(folder) / "net.safetensors", net, Part(name, arguments))
            export(Path(folder) / "net.safetensors", out=Path(folder) / "net.onnx")

    yield any_size_in_same_size_out
    yield batch_equals_single_pictures
    yield every_parameter_gets_a_gradient
    yield saved_and_loaded_it_is_the_same
    yield exported_it_is_the_same


def loss_contract(name: str, arguments: dict[str, Any]) -> Iterator[Check]:
    """(restored, clear, hazy) -> scalar; gradient to restored alone; holds nothing that trains."""
    loss = create_loss(name, **arguments)
    clear = random_hazy(2, 32, 32)
    hazy = (0.5 * clear + 0.4).requires_grad_()
    restored = (1.4 * hazy.detach() - 0.3).requires_grad_()

    def a_finite_scalar_above_zero() -> None:
        value = loss(restored, clear, hazy)
        expect(value.shape == (), f"it has shape {tuple(value.shape)}")
        expect(bool(value.isfinite()) and value.item() > 0, f"it is {value.item():g}")

    def less_for_the_clear_picture() -> None:
        best = loss(clear.clone(), clear, hazy).item()
        expect(best < loss(restored, clear, hazy).item(), f"{best:g} for the clear picture itself")

    def gradient_to_the_restored_picture_only() -> None:
        loss(restored, clear, hazy).backward()
        gradient = restored.grad
        expect(gradient is not None and bool(gradient.isfinite().all()), "no finite gradient")
        expect(hazy.grad is None, "the hazy picture gets a gradient")

    def no_parameters_and_no_state() -> None:
        expect(not list(loss.parameters()), "it has parameters")
        expect(not loss.state_dict(), "its state dict is not empty; use persistent=False")

    def no_random_numbers() -> None:
        state = torch.get_rng_state()
        values = loss(restored, clear, hazy), loss(restored, clear, hazy)
        expect(torch.equal(*values), "two values for the same pictures")
        expect(torch.equal(state, torch.get_rng_state()), "it draws random numbers")

    yield a_finite_scalar_above_zero
    yield less_for_the_clear_picture
    yield gradient_to_the_restored_picture_only
    yield no_parameters_and_no_state
    yield no_random_numbers


def dataset_contract(name: str, arguments: dict[str, Any]) -> Iterator[Check]:
    """`draw` is a pure function of seed and step; `pair` returns whole pictures."""
    data = create_data(Part(name, arguments))

    def batch_of(step: int) -> PairedBatch | UnpairedBatch:
        augment = Augment(crop=CROP)
        return data.draw(3, step, size=2, augment=augment, device=torch.device("cpu"))

    def batches_of_the_asked_size_in_range() -> None:
        batch = batch_of(0)
        expect(isinstance(batch, PairedBatch | UnpairedBatch), f"it is {type(batch).__name__}")
        for side in (batch.hazy, batch.clear):
            given = f"{tuple(side.shape)} {side.dtype}"
            expect(side.shape == (2, 3, CROP, CROP) and side.dtype == torch.float32, given)
            low, high = side.min().item(), side.max().item()
            expect(low >= 0 and high <= 1, f"values from {low:g} to {high:g}")

    def the_same_step_is_the_same_batch() -> None:
        first, later, again = batch_of(0), batch_of(1), batch_of(0)
        expect(torch.equal(first.hazy, again.hazy), "step 0 differs after step 1 was drawn")
        expect(torch.equal(first.clear, again.clear), "step 0 differs after step 1 was drawn")
        expect(not torch.equal(first.hazy, later.hazy), "steps 0 and 1 are the same")

    def whole_pictures_in_pairs() -> None:
        expect(len(data) > 0, "it is empty")
        if isinstance(batch_of(0), PairedBatch):
            if not isinstance(data, PairedData):
                raise BrokenContract("its batches are pairs, and it lacks the method `pair(index)`")
            for pair in (data.pair(0), data.pair(len(data) - 1)):
                given = f"{tuple(pair.hazy.shape)} and {tuple(pair.clear.shape)}"
                expect(pair.hazy.shape == pair.clear.shape and pair.hazy.shape[0] == 3, given)

    yield batches_of_the_asked_size_in_range
    yield the_same_step_is_the_same_batch
    yield whole_pictures_in_pairs


def method_contract(name: str, arguments: dict[str, Any]) -> Iterator[Check]:
    """A step changes the weights; networks, optimizers and memories are all that it depends on.

    net: beside the arguments of the method, the network that it trains; default "aodnet".
    """
    arguments = {"net": "aodnet"} | arguments
    network = arguments.pop("net")
    entry = find_method(name)
    fabric = Fabric(accelerator="cpu", devices=1)
    hazy = random_hazy(2, 32, 32)
    batch = entry.batch(hazy, (hazy - 0.3).clamp(0, 1))
    losses = {"l1": create_loss("l1")} if entry.batch is PairedBatch else {}
    check_arguments(entry.build, arguments, f"method '{name}'", ("setup",))

    def build() -> Any:
        torch.manual_seed(1)
        net = create_net(network, **find_net(network).tiny)
        weights = dict.fromkeys(losses, 1.0)
        setup = Setup(fabric, net, net, losses, weights, Optimizer(lr=1e-3), clip=0.0)
        return entry.build(setup, **arguments)

    def a_step_returns_terms_and_changes_the_restorer() -> None:
        method = build()
        before = copy.deepcopy(method.networks["restorer"].state_dict())
        terms = method.step([batch], 1e-3)
        expect(bool(terms), "no terms")
        for term, value in terms.items():
            expect(value.shape == () and bool(value.isfinite()), f"{term} is {value}")
        after = method.networks["restorer"].state_dict()
        expect(any(not torch.equal(before[key], after[key]) for key in after), "no weight changed")

    def saved_and_loaded_it_goes_on_as_if_uninterrupted() -> None:
        first, second = build(), build()
        first.step([batch], 1e-3)
        for kind in ("networks", "optimizers", "memories"):
            for key, holder in getattr(first, kind, {}).items():
                getattr(second, kind)[key].load_state_dict(copy.deepcopy(holder.state_dict()))
        for method in (first, second):
            torch.manual_seed(2)
            method.step([batch], 1e-3)
        weights = [each.networks["restorer"].state_dict() for each in (first, second)]
        same = all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
        expect(same, "it depends on something that no checkpoint holds")

    def facts_alarms_and_networks_have_their_types() -> None:
        method = build()
        expect(isinstance(getattr(method, "facts", {}), dict), "facts is not a dict")
        expect(isinstance(getattr(method, "alarms", ()), tuple), "alarms is not a tuple")
        expect(isinstance(method.networks["restorer"], nn.Module), "no network 'restorer'")

    yield a_step_returns_terms_and_changes_the_restorer
    yield saved_and_loaded_it_goes_on_as_if_uninterrupted
    yield facts_alarms_and_networks_have_their_types


CONTRACTS: dict[str, Callable[[str, dict[str, Any]], Iterator[Check]]] = {
    "net": net_contract,
    "loss": loss_contract,
    "dataset": dataset_contract,
    "method": method_contract,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
