"""The HTTP API: what programs read, publish and hear. JSON, in errors too."""
