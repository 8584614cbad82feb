"""Commands whose modules are imported only when they are run or asked for their own help, so that `sluice put` does
not pay for the gateway and `sluice --help` for nothing."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_command


def add_lazily(app: typer.Typer, name: str, target: str, summary: str) -> None:
    """Register command `name`; `target` is "module:function" with typer options, `summary` its line in the list."""

    class Lazy(TyperCommand):
        """Stands in the list of commands; what runs is the command built from the target."""

        def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
            return load(name, target).make_context(info_name, args, parent, **extra)

    app.command(name, cls=Lazy, help=summary)(_placeholder)


def load(name: str, target: str) -> Any:
    """The whole command, its module imported."""
    module, _, function = target.partition(":")
    callback: Callable[..., Any] = getattr(import_module(module), function)
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name)(callback)
    return get_command(single)


def _placeholder() -> None:
    """Never called: `Lazy.make_context` answers with the loaded command."""
