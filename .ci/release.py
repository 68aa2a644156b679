"""Checks that a tag may be released, and prints the section of the changelog for it.

python .ci/release.py v0.2.0 --repository https://github.com/OWNER/NAME > notes.md
"""

import argparse
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main(tag: str, repository: str | None) -> None:
    """Exits with a message unless version, changelog, citation and repository agree with `tag`."""
    project = tomllib.loads(read("pyproject.toml"))["project"]
    version = project["version"]
    if tag != f"v{version}":
        sys.exit(f"the tag is '{tag}', and pyproject.toml has version {version}")
    if f"\nversion: {version}\n" not in read("CITATION.cff"):
        sys.exit(f"CITATION.cff does not have 'version: {version}'")
    home = project["urls"]["Repository"]
    if repository is not None and repository != home:
        sys.exit(f"this is '{repository}', and pyproject.toml has Repository = '{home}'")
    section = re.search(
        rf"^## \[{re.escape(version)}\].*?\n(.*?)(?=^## \[|\Z)", read("CHANGELOG.md"), re.M | re.S
    )
    if section is None:
        sys.exit(f"CHANGELOG.md has no section '## [{version}]'")
    print(section[1].strip())


def read(name: str) -> str:
    """A text file of the project."""
    return (ROOT / name).read_text(encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tag")
    parser.add_argument("--repository")
    given = parser.parse_args()
    main(given.tag, given.repository)
