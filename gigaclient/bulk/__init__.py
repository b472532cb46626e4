"""Many prompts at once: the engine of ``giga.map`` and ``giga.embed_many``."""
