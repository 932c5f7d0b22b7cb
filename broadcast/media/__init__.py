"""Video and audio on their way to be publications: bytes in, segments out, no I/O.

WebM and fragmented MP4 come in, in whatever cuts; a header, entry points and the pieces between
come out. One after another the publications are the bytes that came, all of them and no others, and
what is held back is bounded. Every format is tested at every split point.
"""

from .segments import Segmenter, Snapshot, content_type

__all__ = ["Segmenter", "Snapshot", "content_type"]
