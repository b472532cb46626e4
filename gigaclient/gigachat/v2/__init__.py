"""Chat of API v2: how a request is made, what the events of a stream mean, and how an answer comes of them."""
