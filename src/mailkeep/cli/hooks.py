"""Commands of the user's around a run, with its result in their environment."""

from __future__ import annotations

import os
import subprocess

from mailkeep.domain.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mailkeep.cli.run import Output, Place

TIMEOUT_SECONDS = 600


def run_hook(
    kind: str, command: str | tuple[str, ...], place: Place, output: Output, result: dict[str, Any]
) -> None:
    """Run a hook. A pre hook that fails stops the run before anything is touched; a post hook only warns.

    Environment: MAILKEEP_STORE, MAILKEEP_ROOT; after a run also MAILKEEP_EXIT, MAILKEEP_ADDED,
    MAILKEEP_CHANGED, MAILKEEP_EXPUNGED, MAILKEEP_HELD (here, all peers together) and MAILKEEP_RESULT (the
    JSON of --json).
    """
    environment = {
        **os.environ,
        "MAILKEEP_HOOK": kind,
        "MAILKEEP_STORE": place.name,
        "MAILKEEP_ROOT": os.fsdecode(place.root),
    }
    if result:
        import json

        environment["MAILKEEP_EXIT"] = str(result["exit"])
        for name in ("added", "changed", "expunged", "held"):
            environment[f"MAILKEEP_{name.upper()}"] = str(
                sum(p.get("here", {}).get(name, 0) for p in result["peers"])
            )
        environment["MAILKEEP_RESULT"] = json.dumps(result, default=str)[:100_000]
    argv = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
    try:
        status = subprocess.run(
            argv, env=environment, timeout=TIMEOUT_SECONDS, stdin=subprocess.DEVNULL, check=False
        ).returncode
    except (OSError, subprocess.TimeoutExpired) as err:
        status, why = -1, str(err)
    else:
        why = f"it ended with status {status}"
    if status == 0:
        return
    if kind == "pre":
        raise ConfigError(
            f"the pre hook of the store {place.name} failed: {why}",
            untouched="anything: a pre hook that fails stops the run",
            hint=f"correct stores.{place.name}.hooks.pre, or what it waits for",
        )
    output.warn(f"the post hook of the store {place.name} failed: {why}; the run itself is done")
