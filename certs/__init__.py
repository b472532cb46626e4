"""The certificate authority that GigaChat's TLS chains end in, as data; README.md beside this file says what it is.

This folder lies at the top of the project and is installed as ``gigaclient.certs``. It is a package
only so that every kind of install, an editable one too, finds the files in it.
"""
