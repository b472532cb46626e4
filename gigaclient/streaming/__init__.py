"""Event streams: the SSE decoder, stream objects, accumulators."""
