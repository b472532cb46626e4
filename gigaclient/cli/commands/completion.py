"""``gigaclient completion``."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

__all__ = ["command"]

_HELP = """\
Print the completion script for SHELL: bash (4.4 and later), zsh or fish.

\b
bash: echo 'eval "$(gigaclient completion bash)"' >> ~/.bashrc
zsh:  echo 'eval "$(gigaclient completion zsh)"' >> ~/.zshrc
fish: gigaclient completion fish > ~/.config/fish/completions/gigaclient.fish
"""


@click.command("completion", short_help="print the completion script for bash, zsh or fish", help=_HELP)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Run ``gigaclient completion``."""
    from gigaclient.cli.app import COMPLETION_VARIABLE, PROGRAM

    class_ = get_completion_class(shell)
    if class_ is None:
        raise click.UsageError(f"this version of click does not complete {shell}")
    # The source() of the class itself would start the shell to read its version.
    script = ShellComplete.source(class_(click.Group(PROGRAM), {}, PROGRAM, COMPLETION_VARIABLE))
    click.echo(script)
