"""What is printed on a console, as text."""

import io

from rich.console import Console


def screen(show, width=80, **options):
    """What `show` prints on a console of this width."""
    console = Console(width=width, record=True, file=io.StringIO(), **options)
    show(console)
    return console.export_text()
