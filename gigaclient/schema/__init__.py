"""JSON Schemas from types and functions, and values from JSON."""
