"""The command line, described once, a module for each group of verbs; `mailkeep.cli.parser` puts it together."""
