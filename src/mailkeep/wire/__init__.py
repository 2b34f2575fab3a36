"""Bytes to types and back: frames, session messages, mailbox-name encodings, settings, units.

Pure: whoever owns the pipe or the file hands in what was read and carries away what to write.
"""
