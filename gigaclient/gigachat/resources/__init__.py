"""The endpoints of GigaChat's API beside chat, a room for each group of them."""
