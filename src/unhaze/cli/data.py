"""`unhaze data`: checks, packs and makes training data."""

import click


@click.group(no_args_is_help=False)
def data() -> None:
    """Checks, packs and makes training data."""
