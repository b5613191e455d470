"""The group `fleet`: its verbs are imported when they are called, and every error ends in one line."""

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from .exits import OK, USAGE, one_line

INTERRUPTED = 130


class LazyGroup(click.Group):
    """Knows its commands by name and summary alone, so that help and completion import none of them."""

    def __init__(self, *args: Any, verbs: dict[str, tuple[str, str]], **options: Any) -> None:
        """`verbs`: name -> (`module:attribute` below this package, summary)."""
        super().__init__(*args, **options)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self._verbs:
            return None
        module, _, attribute = self._verbs[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f".{module}", __package__), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self._verbs.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [
            CompletionItem(name, help=summary)
            for name, (_, summary) in self._verbs.items()
            if name.startswith(incomplete)
        ]
        # The options of the group itself, as any command has them.
        return found + click.Command.shell_complete(self, ctx, incomplete)


class DefaultGroup(click.Group):
    """A group whose command `default` is meant when what follows is an option, or nothing."""

    def __init__(self, *args: Any, default: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self._default = default
        self.no_args_is_help = False

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_option = bool(args) and args[0].startswith("-") and args[0] not in self.get_help_option_names(ctx)
        if is_option or not (args or ctx.resilient_parsing):
            args = [self._default, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        command = self.commands[self._default]
        inner = click.Context(command, info_name=self._default, parent=ctx, resilient_parsing=True)
        options = command.shell_complete(inner, incomplete) if incomplete.startswith("-") else []
        return super().shell_complete(ctx, incomplete) + options


class FleetGroup(LazyGroup):
    """The whole program. A command returns its exit code; None is 0."""

    def main(self, args: Sequence[str] | None = None, **options: Any) -> NoReturn:  # type: ignore[override]
        # Completion answers by an exit of its own, as does standalone mode, which would print errors its way.
        options |= {"prog_name": "fleet", "standalone_mode": False}
        try:
            code = super().main(args, **options)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            code = USAGE
        except click.UsageError as error:
            asked = error.ctx.command_path if error.ctx else "fleet"
            code = _fail(f"{error.format_message()} See `{asked} --help`.", error.exit_code)
        except click.ClickException as error:
            code = _fail(error.format_message(), error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            code = _fail("stopped", INTERRUPTED)
        except Exception as error:
            if os.environ.get("CELERY_FLEET_DEBUG"):
                traceback.print_exc()
            told = import_module(".trouble", __package__).explained(error)
            code = _fail(told.format_message(), told.exit_code)
        sys.exit(code or OK)


def _fail(message: str, code: int) -> int:
    click.echo(f"fleet: {one_line(message)}", err=True)
    return code
