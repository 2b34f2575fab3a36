"""The replication rules as a program of their own, and random histories that test them.

* `state` holds registers, records, mailboxes and what a replica remembers;
* `oracle` holds the rules for one replica (local writes, identity, purge, holds) and re-exports the whole API;
* `exchange` holds the rules for two: what is sent, how it is committed, a session in steps;
* `histories` makes up histories, runs them, and judges the end; `mutants` breaks one rule at a time.

Nothing here touches a file, a network or a clock, and nothing here is imported by the product.
"""
