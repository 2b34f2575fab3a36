"""The decisions: what a scan means, what a merge yields, what a guard holds.

Each is a pure function from snapshots to a plan. Nothing here does what it decides.
"""
