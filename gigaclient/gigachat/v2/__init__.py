"""Chat of API v2: requests, stream events, responses, and dialogues with functions."""
