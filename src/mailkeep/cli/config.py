"""`mailkeep config`: the configuration, each value with its source."""

from __future__ import annotations

import os
from typing import Any

from mailkeep.cli.run import Options, Output, places
from mailkeep.domain.errors import EXIT_DONE


def show(options: Options) -> int:
    """Every setting."""
    from mailkeep.system.configfile import load_settings_with_lines
    from mailkeep.wire.config import Settings, settings_rows

    output = Output(options)
    where = places()
    settings = load_settings_with_lines(where)
    if options.store is not None:
        settings = Settings(settings.label, {options.store: settings.store(options.store)})
    rows = [(key, value, _short(source, where.config_file)) for key, value, source in settings_rows(settings)]
    output.say(
        f"# {where.config_file}"
        + ("" if os.path.exists(where.config_file) else " (not there yet: mailkeep init makes it)")
    )
    shown = [
        (f"{key} = {_toml(value)}", source)
        for key, value, source in rows
        if value is not None or options.verbose
    ]
    width = min(max((len(text) for text, _ in shown), default=0), 72)
    for text, source in shown:
        output.say(f"{text.ljust(width)}  # {source}")
    output.result(
        {
            "exit": EXIT_DONE,
            "file": where.config_file,
            "exists": os.path.exists(where.config_file),
            "settings": [{"key": key, "value": value, "source": source} for key, value, source in rows],
        }
    )
    return EXIT_DONE


def path(options: Options) -> int:
    """Where the file is, or would be."""
    output = Output(options)
    where = places()
    if not options.json:
        print(where.config_file)  # with -q too: it is what was asked for
    output.detail(f"# says {where.config_source}")
    output.result(
        {
            "exit": EXIT_DONE,
            "file": where.config_file,
            "exists": os.path.exists(where.config_file),
            "source": where.config_source,
        }
    )
    return EXIT_DONE


def names(options: Options) -> int:
    """Names of stores, or of a store's peers."""
    from mailkeep.system.configfile import load_settings

    output = Output(options)
    settings = load_settings(places())
    found = list(settings.stores if options.args.of == "stores" else settings.store(options.store).peers)
    if not options.json:
        for name in found:
            print(name)  # with -q too: it is what was asked for
    output.result({"exit": EXIT_DONE, "names": found})
    return EXIT_DONE


def _short(source: str, file: str) -> str:
    return source.replace(file, "config.toml")


def _toml(value: Any) -> str:
    """A value as it is written in the file."""
    import json

    if value is None:
        return "(none)"
    if isinstance(value, dict):
        return (
            "{ "
            + ", ".join(f"{json.dumps(k, ensure_ascii=False)} = {_toml(v)}" for k, v in value.items())
            + " }"
            if value
            else "{}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)
