"""Twins that ship: stand-ins for disk, clock and peers, and the suites that hold them to a contract."""
