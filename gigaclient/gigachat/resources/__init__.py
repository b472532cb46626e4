"""The endpoints of GigaChat's API except chat, one module for each group."""
