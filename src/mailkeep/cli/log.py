"""`mailkeep log`: runs that changed something or failed."""

from __future__ import annotations

from mailkeep.cli.look import Look, run_line, runs
from mailkeep.cli.run import Options, Output, find
from mailkeep.domain.errors import EXIT_DONE


def log(options: Options) -> int:
    """List runs, the newest first."""
    output = Output(options)
    place = find(options.store, None)
    since = None
    if options.args.since is not None:
        from mailkeep.cli.giving import seconds_of

        since = seconds_of(options.args.since, "--since")
    with Look(place) as look:
        rows = runs(look, options.args.last, options.args.peer, since)
    for row in rows:
        output.say(run_line(row))
    if not rows:
        output.say(
            "no run changed anything yet"
            if options.args.peer is None and since is None
            else "no such run changed anything"
        )
    output.result({"exit": EXIT_DONE, "store": place.name, "runs": rows})
    return EXIT_DONE
