"""The commands, one module each, named in ``gigaclient.cli.registry``."""
