"""The commands, one module each, listed in ``gigaclient.cli.registry``."""
