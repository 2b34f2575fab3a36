"""mailkeep: Maildirs kept the same on several machines, and no mail lost."""

__version__ = "0.1.0"
