"""The command line: one module a verb; the only package that prints or reads the environment."""
