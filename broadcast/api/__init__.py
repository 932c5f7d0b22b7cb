"""The HTTP API: what programs read, publish and hear.

Requests come in with the permissions, tokens and limits of every other door; JSON goes out, in
errors too, or an event stream that resumes by itself. The description (OpenAPI 3.1) is held against
the answers by tests. No cache keeps any answer.
"""
