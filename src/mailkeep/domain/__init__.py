"""The nouns: mailbox names, flags, records and registers, version vectors, errors.

Types only. Nothing here reads a clock, a file or an environment variable.
"""
