"""First losses and answers of every network, as recorded in tests/data/golden_nets.json.

A change moves them only on purpose: `python -m tests.nets.test_golden NET` records network NET
anew, and without NET all of them. A network that is not recorded yet is recorded here, on its
first run, unless CI is set; the file goes into the commit that adds the network.
"""

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from tests.nets.variants import EVERY_NET, VARIANTS
from unhaze.nets import NETS, create_net

RECORD = Path(__file__).parents[1] / "data" / "golden_nets.json"


def measured(name: str, preset: str | None) -> dict[str, list[float]]:
    """Three steps of the tiny network on fixed pictures; then mean, deviation, corner of one."""
    torch.manual_seed(7)
    net = create_net(name, preset=preset, **NETS[name].tiny).train()
    hazy, clear = torch.rand(2, 2, 3, 24, 20).unbind()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    losses = []
    for _ in range(3):
        loss = functional.l1_loss(net(hazy), clear)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        restored = net.eval()(hazy[:1, :, :13, :10])
    answer = [restored.mean().item(), restored.std().item(), *restored[0, :, -1, -1].tolist()]
    return {"losses": losses, "answer": answer}


def read() -> dict[str, dict[str, list[float]]]:
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}


def record(name: str, preset: str | None) -> dict[str, list[float]]:
    """Measures and writes one entry; answers it."""
    values = measured(name, preset)
    rounded = {key: [round(each, 6) for each in row] for key, row in values.items()}
    entries = read() | {f"{name}/{preset}": rounded}
    lines = [f'  "{key}": {json.dumps(entries[key])}' for key in sorted(entries)]
    aside = RECORD.with_name(f".{RECORD.name}.{os.getpid()}")
    aside.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    aside.replace(RECORD)
    return rounded


@EVERY_NET
def test_first_losses_and_answers_are_the_recorded_ones(name: str, preset: str | None):
    expected = read().get(f"{name}/{preset}")
    if expected is None:
        assert not os.environ.get("CI"), f"`python -m tests.nets.test_golden {name}`, and commit it"
        expected = record(name, preset)
    found = measured(name, preset)
    assert found["losses"] == pytest.approx(expected["losses"], rel=2e-3)
    assert found["answer"] == pytest.approx(expected["answer"], rel=5e-3, abs=5e-3)


def test_nothing_is_recorded_that_is_gone():
    assert read().keys() <= {f"{name}/{preset}" for name, preset in VARIANTS}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each, variant in VARIANTS:
        if each in sys.argv[1:] or not sys.argv[1:]:
            record(each, variant)
