#!/usr/bin/env python
"""Django's commands: ``python manage.py demo`` runs without a key, ``python manage.py runserver`` with one."""

from __future__ import annotations

import os
import sys

try:
    from django.core.management import execute_from_command_line
except ImportError:
    sys.exit('This example needs Django. In the root of the clone: pip install ".[django,testing]"')

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chat.settings")
    execute_from_command_line(sys.argv)
