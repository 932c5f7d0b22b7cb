"""What a person sees: real pages of a real server process in a real browser."""
