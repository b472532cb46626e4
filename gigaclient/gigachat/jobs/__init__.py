"""The jobs that ``bulk/`` runs for GigaChat: chat, batches and embeddings."""
