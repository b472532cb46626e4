"""The terminal: what ``gigaclient`` and ``python -m gigaclient`` run. Needs the extra ``gigaclient[cli]``.

One module in ``commands/`` for each command, which imports what it needs when it runs; ``catalogue.py`` lists them.
"""
