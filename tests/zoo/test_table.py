"""`unhaze zoo`: the table of published networks is complete and equal to the networks."""

import json
from pathlib import Path

import pytest

from unhaze.cli import main
from unhaze.nets import NETS, create_net
from unhaze.report.zoo import list_rows
from unhaze.zoo import list_networks

torch = pytest.importorskip("torch")
ROOT = Path(__file__).parents[2]
HERE = [
    name
    for name, network in list_networks().items()
    if network.net in NETS
    and (network.preset is None or network.preset in NETS[network.net].presets)
]


def test_the_verb_prints_all_rows(capsys):
    assert main(["zoo", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(list_networks())
    assert main(["zoo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(rows)
    assert any("weights: unhaze zoo get lkdnet-s-its | lkdnet-s-ots" in line for line in lines)


@pytest.mark.parametrize("name", HERE)
def test_parameters_are_those_of_the_network(name):
    network = list_networks()[name]
    with torch.device("meta"):
        net = create_net(network.net, preset=network.preset)
    assert sum(each.numel() for each in net.parameters()) == network.parameters


def test_parity_is_claimed_only_for_what_a_test_holds_against_its_reference():
    claimed = {network.name for network in list_networks().values() if network.parity}
    held = {name for net in NETS.values() for name in net.zoo.values()}  # test_zoo_parity.py
    assert claimed == held
    assert all(row["here"] for row in list_rows() if row["parity"] or row["name"] in claimed)
