"""Prints constraints for pip that hold an install to the lowest versions pyproject.toml allows.

python .ci/lowest.py EXTRA... > constraints.txt && pip install -c constraints.txt ".[EXTRA,...]"
"""

import re
import sys
import tomllib
from pathlib import Path

BOUND = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?>=([0-9.]+)")


def main(extras: list[str]) -> None:
    """The default install and `extras`."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][each] for each in extras)]
    for requirement in (each for some in lists for each in some):
        found = BOUND.match(requirement)
        if found is None:
            sys.exit(f"'{requirement}' has no lower bound; expected NAME>=VERSION")
        print(f"{found[1]}=={found[2]}")


if __name__ == "__main__":
    main(sys.argv[1:])
