"""Hooks of the documentation site: the page of commands, links to files outside of docs/."""

import re
from typing import Any

import click

PLACEHOLDER = "<!-- commands -->"
OUTSIDE = re.compile(r"\]\((?:\.\./)+([^)]+)\)")


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Writes the help of all commands at the placeholder; `../file` links to the repository."""
    if PLACEHOLDER in markdown:
        markdown = markdown.replace(PLACEHOLDER, command_pages())
    depth = page.file.src_uri.count("/")
    root = f"{config.repo_url.rstrip('/')}/blob/main/"

    def outside(link: re.Match[str]) -> str:
        leaves = link[0].count("../") > depth
        return f"]({root}{link[1]})" if leaves else link[0]

    return OUTSIDE.sub(outside, markdown)


def command_pages() -> str:
    """`--help` of every verb and of the verbs inside verbs, as Markdown."""
    from unhaze.cli import VERBS, command_of

    pages = []
    for name in VERBS:
        command = command_of(name)
        pages.append(command_page(f"unhaze {name}", command))
        if isinstance(command, click.Group):
            inner = command.commands.items()
            pages += [command_page(f"unhaze {name} {word}", each) for word, each in inner]
    return "\n".join(pages)


def command_page(name: str, command: click.Command) -> str:
    """One section: the name, and what `--help` prints."""
    context = click.Context(command, info_name=name, max_content_width=100, terminal_width=100)
    return f"## {name}\n\n```text\n{command.get_help(context)}\n```\n"
