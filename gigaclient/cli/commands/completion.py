"""``gigaclient completion``."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

__all__ = ["command"]


@click.command("completion", short_help="the completion script for bash, zsh or fish")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """The completion script for SHELL: bash (4.4 and later), zsh or fish.

    \b
    bash: echo 'eval "$(gigaclient completion bash)"' >> ~/.bashrc
    zsh:  echo 'eval "$(gigaclient completion zsh)"' >> ~/.zshrc
    fish: gigaclient completion fish > ~/.config/fish/completions/gigaclient.fish
    """
    from gigaclient.cli.app import COMPLETION_VARIABLE, PROGRAM

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"this version of click does not complete {shell}")
    # Not the class's own source(), which starts the shell to ask for its version.
    script = ShellComplete.source(kind(click.Group(PROGRAM), {}, PROGRAM, COMPLETION_VARIABLE))
    click.echo(script)
