/** Small recordings made by hand: WebM and fragmented MP4. */

const UNKNOWN = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

export function bytes(...parts) {
  return new Uint8Array(parts.flatMap((part) => (typeof part === "number" ? [part] : [...part])));
}

export function text(words) {
  return new TextEncoder().encode(words);
}

function id(number) {
  const digits = number.toString(16);
  return digits.match(/../g).map((pair) => parseInt(pair, 16));
}

/** An element of EBML; its size in two bytes, or unknown. */
export function ebml(number, ...content) {
  const inside = bytes(...content);
  return bytes(id(number), [0x40 | (inside.length >> 8), inside.length & 0xff], inside);
}

export function endless(number, ...content) {
  return bytes(id(number), UNKNOWN, ...content);
}

function track(number, type, codec) {
  return ebml(0xae, ebml(0xd7, number), ebml(0x83, type), ebml(0x86, text(codec)));
}

const VIDEO_TRACK = track(2, 1, "V_VP8");
const AUDIO_TRACK = track(1, 2, "A_OPUS");

export function webmHeader({ video = true, audio = true, tracks = null } = {}) {
  const all = tracks ?? [...(audio ? [AUDIO_TRACK] : []), ...(video ? [VIDEO_TRACK] : [])];
  return bytes(ebml(0x1a45dfa3, ebml(0x4282, text("webm"))), endless(0x18538067), ebml(0xec, 0, 0), ebml(0x1654ae6b, ...all));
}

export { track };

/** A SimpleBlock of a track: 1 is sound, 2 is video. */
export function block(number, { key = false, filling = 5, time = 0 } = {}) {
  return ebml(0xa3, 0x80 | number, int16(time), key ? 0x80 : 0, new Uint8Array(filling).fill(number));
}

/** A BlockGroup, which refers to another frame unless it is a key frame. */
export function group(number, { key = false, time = 0 } = {}) {
  return ebml(0xa0, ebml(0xa1, 0x80 | number, int16(time), 0, 7), ...(key ? [] : [ebml(0xfb, 1)]));
}

function int16(number) {
  return [(number >> 8) & 0xff, number & 0xff];
}

export function cluster(...blocks) {
  return clusterAt(0, ...blocks);
}

export function clusterAt(time, ...blocks) {
  return endless(0x1f43b675, ebml(0xe7, uint32(time)), ...blocks);
}

export function wholeCluster(...blocks) {
  return ebml(0x1f43b675, ebml(0xe7, 0), ...blocks);
}

// -- MP4

function uint32(number) {
  return [number >>> 24, (number >>> 16) & 0xff, (number >>> 8) & 0xff, number & 0xff];
}

export function box(type, ...content) {
  const inside = bytes(...content);
  return bytes(uint32(inside.length + 8), text(type), inside);
}

function trak(number, handler, entry) {
  return box(
    "trak",
    box("tkhd", uint32(0), uint32(0), uint32(0), uint32(number)),
    box("mdia", box("hdlr", uint32(0), uint32(0), text(handler)), box("minf", box("stbl", box("stsd", uint32(0), uint32(1), entry)))),
  );
}

const AVC1 = box("avc1", new Uint8Array(78), box("avcC", 1, 0x64, 0x00, 0x1f, 0xff));
const ESDS = box("esds", uint32(0), 0x03, 25, 0, 1, 0, 0x04, 17, new Uint8Array(13), 0x05, 2, 0x12, 0x10);
const MP4A = box("mp4a", new Uint8Array(28), ESDS);

export function mp4Header({ video = true, audio = true, flags = 0x10000 } = {}) {
  const traks = [...(video ? [trak(1, "vide", AVC1)] : []), ...(audio ? [trak(2, "soun", MP4A)] : [])];
  const trex = box("trex", uint32(0), uint32(1), uint32(1), uint32(0), uint32(0), uint32(flags));
  return bytes(box("ftyp", text("isom")), box("moov", ...traks, box("mvex", trex)));
}

/** A fragment of track 1; `first`, `samples`, `usual`: the flags in trun of the first sample, of it among all, in tfhd. */
export function fragment({ track: number = 1, first, sample, usual } = {}) {
  const tfhd = box("tfhd", uint32(usual === undefined ? 0x2 : 0x22), uint32(number), uint32(1), usual === undefined ? [] : uint32(usual));
  const has = 0x1 | (first === undefined ? 0 : 0x4) | (sample === undefined ? 0 : 0x700);
  const trun = box(
    "trun",
    uint32(has),
    uint32(1),
    uint32(0),
    first === undefined ? [] : uint32(first),
    sample === undefined ? [] : [...uint32(1), ...uint32(1), ...uint32(sample)],
  );
  return bytes(box("moof", box("mfhd", uint32(0)), box("traf", tfhd, trun)), box("mdat", 1, 2, 3, 4));
}
