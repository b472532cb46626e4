"""The terminal commands of ``gigaclient`` and ``python -m gigaclient``. Needs the extra ``gigaclient[cli]``.

Each command is a module in ``commands/``, which imports its dependencies when it runs. ``registry.py`` lists them.
"""
