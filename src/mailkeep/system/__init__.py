"""The kernel's side: files, directories, locks, clocks, processes.

The only package that may rename, link or remove a file, or ask what time it is.
"""
