"""Streams in pages that are not Broadcast's, in a real browser."""
