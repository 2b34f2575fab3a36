"""`mailkeep log`: runs that changed something or failed."""

from __future__ import annotations

from mailkeep.cli.look import Look, run_line, runs
from mailkeep.cli.run import Options, Output, find
from mailkeep.domain.errors import EXIT_DONE


def log(options: Options) -> int:
    """List runs, the newest first."""
    output = Output(options)
    place = find(options.store, None)
    with Look(place) as look:
        rows = runs(look, options.args.last, options.args.peer)
    for row in rows:
        output.say(run_line(row))
    if not rows:
        output.say(
            "no run changed anything yet"
            if options.args.peer is None
            else "no run with that peer changed anything yet"
        )
    output.result({"exit": EXIT_DONE, "store": place.name, "runs": rows})
    return EXIT_DONE
