/**
 * Fragmented MP4, as far as a live stream needs to know it: what is in a header, where a newcomer can start, where to cut.
 *
 * Pure functions over bytes. Boxes, `trun` and `tfhd` are those of ISO/IEC 14496-12, `avcC` of 14496-15, `esds` of
 * 14496-14; the names of codecs are those of RFC 6381.
 */
import { join } from "./bytes.js";

const NOT_SYNC = 0x10000; // of the flags of a sample
const VISUAL_ENTRY = 78; // bytes of a visual sample entry before its boxes
const AUDIO_ENTRY = 28;
const DEFAULT_FLAGS = 0x20; // of tfhd: that it has them
const FIRST_FLAGS = 0x4; // of trun
const SAMPLE_FLAGS = 0x400;
const DECODER_CONFIG = 4; // tags of the descriptors in esds
const DECODER_SPECIFIC = 5;

export function isMP4(bytes) {
  return bytes.length >= 8 && ["ftyp", "styp", "moov"].includes(typeAt(bytes, 0));
}

/**
 * The facts in a header: `{mimeType, hasVideo, hasAudio, videoTrack, flags}`; the MIME type is null where a codec is not
 * known, `flags` are those that samples of the video have by default. Null: there are no tracks in it.
 */
export function readMP4Header(header) {
  const moov = find(header, boxes(header, 0, header.length), "moov");
  if (!moov) return null;
  const tracks = [...children(header, moov)].filter(({ type }) => type === "trak").map((trak) => readTrack(header, trak));
  if (tracks.length === 0) return null;
  const video = tracks.find(({ handler }) => handler === "vide");
  const codecs = tracks.map(({ codec }) => codec);
  return {
    mimeType: codecs.every(Boolean) ? `${video ? "video" : "audio"}/mp4; codecs="${codecs.join(",")}"` : null,
    hasVideo: Boolean(video),
    hasAudio: tracks.some(({ handler }) => handler === "soun"),
    videoTrack: video?.number ?? null,
    flags: video ? defaultFlags(header, moov, video.number) : 0,
  };
}

/** Whether these bytes begin with a fragment whose first video sample is a sync sample; without video: with any. */
export function startsMP4Entry(bytes, { videoTrack, flags }) {
  const moof = find(bytes, boxes(bytes, 0, bytes.length), "moof");
  if (!moof) return false;
  if (videoTrack === null) return true;
  for (const traf of children(bytes, moof)) {
    if (traf.type === "traf" && trackOf(bytes, traf) === videoTrack) return beginsInSync(bytes, traf, flags);
  }
  return false;
}

/** Cuts a recording into its header, fragments that a newcomer can start at, and the rest. Nothing is lost between. */
export class MP4Cutter {
  #pending = new Uint8Array();
  #scanned = 0;
  #header = null;

  /** `{data, header, entry}` of everything that is whole by now. RangeError: this is no fragmented MP4. */
  push(bytes) {
    this.#pending = join(this.#pending, bytes);
    const parts = [];
    for (let box = this.#next(); box; box = this.#next()) {
      this.#scanned = box.end;
      // Boxes before a fragment, such as `styp`, belong to it.
      if (box.type === "moov") parts.push(this.#takeHeader());
      else if (box.type === "mdat") parts.push(this.#takeFragment());
    }
    return parts;
  }

  #next() {
    const box = boxAt(this.#pending, this.#scanned);
    if (!box) return null;
    if (this.#scanned === 0 && !this.#header && box.type !== "ftyp") throw new RangeError("this does not begin like MP4");
    return box.end <= this.#pending.length ? box : null;
  }

  #takeHeader() {
    this.#header = readMP4Header(this.#pending.subarray(0, this.#scanned));
    if (!this.#header) throw new RangeError("this MP4 has no tracks");
    return { data: this.#take(), header: true, entry: false };
  }

  #takeFragment() {
    if (!this.#header) throw new RangeError("this MP4 is not fragmented");
    const entry = startsMP4Entry(this.#pending.subarray(0, this.#scanned), this.#header);
    return { data: this.#take(), header: false, entry };
  }

  #take() {
    const taken = this.#pending.slice(0, this.#scanned);
    this.#pending = this.#pending.subarray(this.#scanned);
    this.#scanned = 0;
    return taken;
  }
}

function readTrack(bytes, trak) {
  const tkhd = path(bytes, trak, "tkhd");
  const hdlr = path(bytes, trak, "mdia", "hdlr");
  const stsd = path(bytes, trak, "mdia", "minf", "stbl", "stsd");
  const entry = stsd && boxAt(bytes, stsd.start + 8);
  return {
    number: tkhd && uint32(bytes, tkhd.start + (bytes[tkhd.start] === 1 ? 20 : 12)),
    handler: hdlr && text(bytes, hdlr.start + 8),
    codec: entry && codecOf(bytes, entry),
  };
}

/** The name of a codec in a MIME type; null where it is not known. */
function codecOf(bytes, entry) {
  if (entry.type === "avc1" || entry.type === "avc3") {
    const avcC = find(bytes, boxes(bytes, entry.start + VISUAL_ENTRY, entry.end), "avcC");
    return avcC && `${entry.type}.${hex(bytes.subarray(avcC.start + 1, avcC.start + 4))}`;
  }
  if (entry.type === "mp4a") {
    const esds = find(bytes, boxes(bytes, entry.start + AUDIO_ENTRY, entry.end), "esds");
    return esds && `mp4a.40.${audioObjectType(bytes, esds)}`;
  }
  return entry.type === "Opus" ? "opus" : null;
}

/** The kind of AAC: the first five bits of what a decoder is told. 2, which nearly all is, where it says nothing. */
function audioObjectType(bytes, esds) {
  for (let at = esds.start + 4; at < esds.end; ) {
    const tag = bytes[at++];
    while (bytes[at] & 0x80) at += 1; // of a length, which may be written in more bytes than it needs
    at += 1;
    if (tag === DECODER_SPECIFIC) return bytes[at] >> 3;
    at += tag === DECODER_CONFIG ? 13 : 3; // before what is inside
  }
  return 2;
}

function defaultFlags(bytes, moov, track) {
  const mvex = path(bytes, moov, "mvex");
  if (!mvex) return 0;
  const trex = [...children(bytes, mvex)].find(({ type, start }) => type === "trex" && uint32(bytes, start + 4) === track);
  return trex ? uint32(bytes, trex.start + 20) : 0;
}

function trackOf(bytes, traf) {
  const tfhd = path(bytes, traf, "tfhd");
  return tfhd && uint32(bytes, tfhd.start + 4);
}

function beginsInSync(bytes, traf, otherwise) {
  const trun = path(bytes, traf, "trun");
  const flags = (trun && flagsOfFirst(bytes, trun)) ?? flagsOfTrack(bytes, path(bytes, traf, "tfhd")) ?? otherwise;
  return (flags & NOT_SYNC) === 0;
}

/** The flags of the first sample of a run; null: it says nothing. */
function flagsOfFirst(bytes, { start }) {
  const has = uint24(bytes, start + 1);
  const first = start + 8 + (has & 0x1 ? 4 : 0);
  if (has & FIRST_FLAGS) return uint32(bytes, first);
  if (!(has & SAMPLE_FLAGS)) return null;
  return uint32(bytes, first + (has & 0x100 ? 4 : 0) + (has & 0x200 ? 4 : 0));
}

function flagsOfTrack(bytes, { start }) {
  const has = uint24(bytes, start + 1);
  if (!(has & DEFAULT_FLAGS)) return null;
  const before = [0x1, 0x1, 0x2, 0x8, 0x10].filter((flag) => has & flag).length; // the first of them is of 8 bytes
  return uint32(bytes, start + 8 + 4 * before);
}

function path(bytes, box, ...types) {
  return types.reduce((inside, type) => inside && find(bytes, children(bytes, inside), type), box);
}

function find(bytes, among, wanted) {
  for (const box of among) if (box.type === wanted) return box;
  return null;
}

function children(bytes, box) {
  return boxes(bytes, box.start, Math.min(box.end, bytes.length));
}

function* boxes(bytes, from, to) {
  for (let at = from; at < to; ) {
    const box = boxAt(bytes, at);
    if (!box) return;
    yield box;
    at = box.end;
  }
}

/** `{type, start, end}` of the box at a place. Null: there is not enough. RangeError: it is none. */
function boxAt(bytes, at) {
  if (at + 8 > bytes.length) return null;
  const size = uint32(bytes, at);
  const type = typeAt(bytes, at);
  if (size !== 1) {
    if (size < 8) throw new RangeError("this is no fragmented MP4: a box has no size");
    return { type, start: at + 8, end: at + size };
  }
  if (at + 16 > bytes.length) return null;
  return { type, start: at + 16, end: at + uint32(bytes, at + 8) * 2 ** 32 + uint32(bytes, at + 12) };
}

function typeAt(bytes, at) {
  return text(bytes, at + 4);
}

function text(bytes, at) {
  return String.fromCharCode(...bytes.subarray(at, at + 4));
}

function uint24(bytes, at) {
  return (bytes[at] << 16) | (bytes[at + 1] << 8) | bytes[at + 2];
}

function uint32(bytes, at) {
  return (uint24(bytes, at) * 256 + bytes[at + 3]) >>> 0;
}

function hex(bytes) {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0").toUpperCase()).join("");
}
