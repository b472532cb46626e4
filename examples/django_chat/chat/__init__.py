"""A chat page on Django: the site and its only application."""
