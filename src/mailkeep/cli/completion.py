"""`mailkeep completion`: what `make docs` built from the parser, as data of the package."""

from __future__ import annotations

from mailkeep.cli.run import Options, Output
from mailkeep.domain.errors import EXIT_DONE

FILES = {"bash": "mailkeep.bash", "zsh": "_mailkeep", "fish": "mailkeep.fish"}


def completion(options: Options) -> int:
    """Print a shell's completion."""
    from importlib.resources import files

    shell = options.args.shell
    text = (files("mailkeep") / "data" / "completion" / FILES[shell]).read_text(encoding="utf-8")
    if not options.json:
        print(text, end="")  # with -q too: it is what was asked for
    Output(options).result({"exit": EXIT_DONE, "shell": shell, "script": text})
    return EXIT_DONE
