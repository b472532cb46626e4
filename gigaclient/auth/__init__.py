"""Access tokens: fetch, refresh, share between threads and processes."""
