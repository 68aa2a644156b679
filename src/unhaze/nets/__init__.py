"""The table of networks, and the function that builds one."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from unhaze import plugins
from unhaze.errors import UnhazeError
from unhaze.nets.entry import Net
from unhaze.tables import read_tables
from unhaze.validation import check_arguments, lookup

if TYPE_CHECKING:
    from torch import nn

NETS = {name: Net(**facts) for name, facts in read_tables("unhaze.nets", "zoo.toml").items()}


def list_nets() -> list[str]:
    """Returns the names that `create_net` accepts: `NETS` and the entry points `unhaze.nets`."""
    return [*NETS, *plugins.installed("net")]


def find_net(name: str) -> Net:
    """Returns the network `name`: from `NETS`, an entry point, or "package.module:Class"."""
    return plugins.find(NETS, name, "net", net_of)


def net_of(name: str, build: Callable[..., "nn.Module"]) -> Net:
    """Wraps a class of another package, given by its import path."""
    location = f"{build.__module__}:{build.__qualname__}"
    paper, licence = f"from {build.__module__}", "its own"
    return Net(location, title=name.rpartition(":")[2], paper=paper, licence=licence)


def create_net(name: str, *, preset: str | None = None, **arguments: Any) -> "nn.Module":
    """Builds network `name` with random weights; `arguments` override those of `preset`.

    name: as for `find_net`. UnhazeError for an unknown name, preset, argument or value.
    """
    net = find_net(name)
    if preset is not None:
        arguments = lookup(net.presets, preset, f"preset of {name}") | arguments
    check_arguments(net.build, arguments, f"net '{name}'")
    try:
        return net.build(**arguments)
    except (ValueError, TypeError, RuntimeError) as error:
        given = "" if any(each in str(error) for each in arguments) else f" (with {arguments})"
        raise UnhazeError(f"net '{name}': {error}{given}") from error
