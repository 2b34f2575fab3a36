"""The fault harness: what `mailkeep selftest`, `make crash` and `make soak` break mailkeep with, and judge it by.

steps    counts what changes a disk, and strikes at one step: within one process
powercut what is left of changes that no sync has covered
launch   starts the real command so that it is struck at a step
tunnel   stands between two ends, counts bytes, and dies
faults   what a round may suffer, drawn from a seed
spool    a copy of somebody's mail, or mail made up
life     what mail programs do to it, and what should come of that
judge    is anything lost, doubled, half done or sent again?
trial    rounds of all of it, between two stores
"""
