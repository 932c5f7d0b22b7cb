"""The names of codecs as browsers take them (RFC 6381), from what containers say of them."""

import string

#: Codec ids of Matroska whose names say everything.
WEBM = {
    **{"V_VP8": "vp8", "V_VP9": "vp9", "V_AV1": "av01", "V_MPEG4/ISO/AVC": "avc1"},
    **{"V_MPEGH/ISO/HEVC": "hvc1", "A_OPUS": "opus", "A_VORBIS": "vorbis", "A_FLAC": "flac"},
    **{"A_AAC": "mp4a.40.2", "A_MPEG/L3": "mp3", "A_PCM/INT/LIT": "pcm", "A_PCM/FLOAT/IEEE": "pcm"},
}
#: Codecs that are told with what their configuration says, by the box that it is in in MP4.
CONFIGURED = {"avc1": "avcC", "avc3": "avcC", "hvc1": "hvcC", "hev1": "hvcC"}
CONFIGURED |= {"av01": "av1C", "vp09": "vpcC", "mp4a": "esds"}
#: Sample entries of MP4 that are called otherwise.
MP4 = {"Opus": "opus", "fLaC": "flac", "ac-3": "ac-3", "ec-3": "ec-3", ".mp3": "mp3", "vp08": "vp8"}

LEGAL = set(string.ascii_letters + string.digits + "-.")


def of_webm(codec: str, private: bytes) -> str:
    """The codec of a track with this CodecID and CodecPrivate; "": it has no name that a browser
    knows."""
    name = WEBM.get(codec, "")
    return configured(name, private) if name in CONFIGURED else name


def of_mp4(entry: str, configuration: bytes) -> str:
    """The codec of a sample entry of this type, with the content of its configuration box."""
    if entry in CONFIGURED:
        return configured(entry, configuration)
    name = MP4.get(entry, entry)
    return name if set(name) <= LEGAL else ""


def configured(name: str, data: bytes) -> str:
    """The name with what its configuration says; as it is, where that is too short."""
    tell = {"avcC": _avc, "hvcC": _hevc, "av1C": _av1, "vpcC": _vp9, "esds": _aac}[CONFIGURED[name]]
    return tell(name, data)


def _avc(name: str, data: bytes) -> str:
    """ISO/IEC 14496-15, section 5.3.3: version, profile, compatibility, level."""
    return f"{name}.{data[1:4].hex().upper()}" if len(data) >= 4 else name


def _hevc(name: str, data: bytes) -> str:
    """ISO/IEC 14496-15, annex E.3: profile, compatibility reversed, tier, level, constraints."""
    if len(data) < 13:
        return name
    space = ("", "A", "B", "C")[data[1] >> 6]
    reverse = int(f"{int.from_bytes(data[2:6]):032b}"[::-1], 2)
    level = f"{'H' if data[1] & 0x20 else 'L'}{data[12]}"
    constraints = [f"{byte:X}" for byte in data[6:12].rstrip(b"\0")]
    return ".".join([name, f"{space}{data[1] & 31}", f"{reverse:X}", level, *constraints])


def _av1(name: str, data: bytes) -> str:
    """AV1 in ISO BMFF, section 5: profile, level, tier, depth of the codec's configuration."""
    if len(data) < 3:
        return name
    tier = "H" if data[2] & 0x80 else "M"
    depth = 8 + 2 * bool(data[2] & 0x40) + 2 * bool(data[2] & 0x20)
    return f"{name}.{data[1] >> 5}.{data[1] & 31:02d}{tier}.{depth:02d}"


def _vp9(name: str, data: bytes) -> str:
    """VP codec ISO BMFF binding: four bytes of a full box, then profile, level, depth."""
    return f"{name}.{data[4]:02d}.{data[5]:02d}.{data[6] >> 4:02d}" if len(data) >= 7 else name


def _aac(name: str, data: bytes) -> str:
    """ISO/IEC 14496-1, section 7.2.6: the object type of the decoder, for audio that of MPEG-4."""
    stream = _content(data[4:], 0x03)
    decoder = _content(stream[3:], 0x04)
    if not decoder or decoder[0] == 0x40:
        specific = _content(decoder[13:], 0x05)
        return f"{name}.40.{specific[0] >> 3 if specific else 2}"
    return f"{name}.{decoder[0]:X}"


def _content(data: bytes, tag: int) -> bytes:
    """The content of the descriptor at the beginning of `data`; empty: it has another tag."""
    size, at = 0, 1
    if data[:1] != bytes([tag]):
        return b""
    while at < min(len(data), 5):
        size = size << 7 | data[at] & 0x7F
        at += 1
        if not data[at - 1] & 0x80:
            break
    return data[at : at + size]
