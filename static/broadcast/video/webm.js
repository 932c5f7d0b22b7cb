/**
 * WebM, as far as a live stream needs to know it: what is in a header, where a newcomer can start, where to cut.
 *
 * Pure functions over bytes. EBML is RFC 8794; the elements are those of Matroska, RFC 9559. What a browser records
 * comes in arbitrary cuts, in clusters of unknown size that end where the next one begins.
 */
import { join } from "./bytes.js";

const EBML = 0x1a45dfa3;
export const SEGMENT = 0x18538067;
export const CLUSTER = 0x1f43b675;
const TRACKS = 0x1654ae6b;
export const TIMESTAMP = 0xe7;
const TRACK_ENTRY = 0xae;
const TRACK_NUMBER = 0xd7;
const TRACK_TYPE = 0x83;
const CODEC_ID = 0x86;
export const SIMPLE_BLOCK = 0xa3;
export const BLOCK_GROUP = 0xa0;
const BLOCK = 0xa1;
const REFERENCE_BLOCK = 0xfb;

const VIDEO = 1;
const AUDIO = 2;
const KEY_FRAME = 0x80; // of the flags of a SimpleBlock

/** Elements of the top of a segment: each of them ends a cluster whose size is not known. */
const OF_THE_SEGMENT = new Set([EBML, SEGMENT, CLUSTER, TRACKS, 0x114d9b74, 0x1549a966, 0x1c53bb6b, 0x1254c367]);

/** How the codecs are called in a MIME type. */
const CODECS = new Map([
  ["V_VP8", "vp8"],
  ["V_VP9", "vp9"],
  ["A_OPUS", "opus"],
  ["A_VORBIS", "vorbis"],
]);

export function isWebM(bytes) {
  return bytes.length >= 4 && unsigned(bytes, 0, 4) === EBML;
}

/**
 * The facts in a header: `{mimeType, hasVideo, hasAudio, videoTrack}`; the MIME type is null where a codec is not known.
 * Null: there are no tracks in it.
 */
export function readWebMHeader(header) {
  const tracks = [...tracksOf(header)];
  if (tracks.length === 0) return null;
  const video = tracks.find(({ type }) => type === VIDEO);
  const codecs = tracks.map(({ codec }) => CODECS.get(codec));
  return {
    mimeType: codecs.every(Boolean) ? `${video ? "video" : "audio"}/webm; codecs="${codecs.join(",")}"` : null,
    hasVideo: Boolean(video),
    hasAudio: tracks.some(({ type }) => type === AUDIO),
    videoTrack: video?.number ?? null,
  };
}

/** Whether these bytes begin with a cluster whose first video frame is a key frame; without video: with a cluster. */
export function startsWebMEntry(bytes, { videoTrack }) {
  const cluster = elementAt(bytes, 0);
  if (cluster?.id !== CLUSTER) return false;
  if (videoTrack === null) return true;
  for (const element of elements(bytes, cluster.start, Math.min(cluster.end, bytes.length))) {
    if (isBlockOf(bytes, element, videoTrack)) return isKeyFrame(bytes, element);
  }
  return false;
}

/** Cuts a recording into its header, parts that a newcomer can start at, and the rest. Nothing is lost between them. */
export class WebMCutter {
  #pending = new Uint8Array(); // not cut off yet
  #scanned = 0; // of it is known to be whole elements
  #header = null; // what `readWebMHeader` said
  #inCluster = false; // of unknown size
  #entry = null; // whether the cluster at the beginning of #pending is one; null: not known yet

  /** `{data, header, entry}` of everything that is whole by now. RangeError: this is no WebM. */
  push(bytes) {
    this.#pending = join(this.#pending, bytes);
    if (!this.#header && this.#pending.length >= 4 && !isWebM(this.#pending)) {
      throw new RangeError("this does not begin like WebM");
    }
    const parts = [];
    for (let element = this.#next(); element; element = this.#next()) {
      if (this.#header === null) this.#scanHeader(element, parts);
      else this.#scan(element, parts);
    }
    if (this.#header !== null) this.#cut(this.#scanned, parts);
    return parts;
  }

  /** The element after what was scanned, when it can be judged: whole, or a master that is looked into. */
  #next() {
    const element = elementAt(this.#pending, this.#scanned);
    if (!element) return null;
    const opened = element.id === SEGMENT || element.end === Infinity;
    return opened || element.end <= this.#pending.length || (element.id === CLUSTER && !this.#header) ? element : null;
  }

  #scanHeader(element, parts) {
    if (element.id !== CLUSTER) {
      if (element.end === Infinity && element.id !== SEGMENT) throw new RangeError("only clusters may be endless");
      this.#scanned = element.id === SEGMENT ? element.start : element.end;
      return;
    }
    this.#header = readWebMHeader(this.#pending.subarray(0, this.#scanned));
    if (!this.#header) throw new RangeError("this WebM has no tracks");
    parts.push({ data: this.#take(this.#scanned), header: true, entry: false });
  }

  #scan(element, parts) {
    if (this.#inCluster && OF_THE_SEGMENT.has(element.id)) this.#leave(parts);
    else if (element.id === CLUSTER) this.#enter(element, parts);
    else this.#pass(element);
  }

  #leave(parts) {
    this.#inCluster = false;
    this.#cut(this.#scanned, parts);
  }

  #enter(element, parts) {
    this.#cut(this.#scanned, parts);
    const { videoTrack } = this.#header;
    // A cluster that says how long it is must not lose a part: it stays whole.
    this.#inCluster = element.end === Infinity;
    this.#entry = videoTrack === null ? true : this.#inCluster ? null : startsWebMEntry(this.#pending, this.#header);
    this.#scanned = this.#inCluster ? element.start - element.at : element.end - element.at;
  }

  #pass(element) {
    if (element.end === Infinity) throw new RangeError("only clusters may be endless");
    if (this.#entry === null && isBlockOf(this.#pending, element, this.#header.videoTrack)) {
      this.#entry = isKeyFrame(this.#pending, element);
    }
    this.#scanned = element.end;
  }

  /** Cut off so much, unless it is not known yet what it is and it goes on. */
  #cut(length, parts) {
    if (length === 0 || (this.#entry === null && this.#inCluster)) return;
    parts.push({ data: this.#take(length), header: false, entry: this.#entry === true });
    this.#entry = false;
  }

  #take(length) {
    const taken = this.#pending.slice(0, length);
    this.#pending = this.#pending.subarray(length);
    this.#scanned = 0;
    return taken;
  }
}

function* tracksOf(header) {
  for (const tracks of ofTheSegment(header)) {
    if (tracks.id !== TRACKS) continue;
    for (const entry of elements(header, tracks.start, tracks.end)) {
      if (entry.id === TRACK_ENTRY) yield readTrack(header, entry);
    }
  }
}

function* ofTheSegment(header) {
  const segment = elementAt(header, elementAt(header, 0)?.end ?? 0);
  // A header ends long before the segment does.
  if (segment?.id === SEGMENT) yield* elements(header, segment.start, header.length);
}

function readTrack(bytes, entry) {
  const track = {};
  for (const { id, start, end } of elements(bytes, entry.start, entry.end)) {
    if (id === TRACK_NUMBER) track.number = unsigned(bytes, start, end);
    else if (id === TRACK_TYPE) track.type = unsigned(bytes, start, end);
    else if (id === CODEC_ID) track.codec = new TextDecoder().decode(bytes.subarray(start, end)).replace(/\0+$/, "");
  }
  return track;
}

function isBlockOf(bytes, element, track) {
  const block = blockIn(bytes, element);
  return block !== null && numberAt(bytes, block.start)?.value === track;
}

/** The block that an element is or has; null: none. */
export function blockIn(bytes, element) {
  if (element.id === SIMPLE_BLOCK) return element;
  if (element.id !== BLOCK_GROUP) return null;
  return [...elements(bytes, element.start, element.end)].find(({ id }) => id === BLOCK) ?? null;
}

function isKeyFrame(bytes, element) {
  if (element.id === BLOCK_GROUP) {
    return ![...elements(bytes, element.start, element.end)].some(({ id }) => id === REFERENCE_BLOCK);
  }
  const number = numberAt(bytes, element.start);
  return (bytes[number.end + 2] & KEY_FRAME) !== 0; // behind two bytes of time
}

/** The elements between two places, as far as they are whole; the last one may have no known end. */
function* elements(bytes, from, to) {
  for (let at = from; at < to; ) {
    const element = elementAt(bytes, at);
    if (!element || (element.end > to && element.end !== Infinity)) return;
    yield element;
    at = element.end;
  }
}

/** `{id, at, start, end}` of the element at a place, its content from `start` to `end`. Null: there is not enough. */
export function elementAt(bytes, at) {
  if (at >= bytes.length) return null;
  const length = Math.clz32(bytes[at]) - 23;
  if (length > 4) throw new RangeError("this is no WebM: an element has no name");
  if (at + length > bytes.length) return null;
  const size = numberAt(bytes, at + length);
  return size && { id: readID(bytes, at), at, start: size.end, end: size.end + size.value };
}

function readID(bytes, at) {
  return unsigned(bytes, at, at + Math.clz32(bytes[at]) - 23);
}

/** `{value, end}` of the number with its length in front at a place; all ones is Infinity. Null: there is not enough. */
export function numberAt(bytes, at) {
  if (at >= bytes.length) return null;
  const length = Math.clz32(bytes[at]) - 23;
  if (length > 8) throw new RangeError("this is no WebM: a size is none");
  if (at + length > bytes.length) return null;
  const rest = [...bytes.subarray(at + 1, at + length)];
  const first = bytes[at] & (0xff >> length);
  const isUnknown = first === 0xff >> length && rest.every((byte) => byte === 0xff);
  const value = isUnknown ? Infinity : rest.reduce((sum, byte) => sum * 256 + byte, first);
  return { value, end: at + length };
}

export function unsigned(bytes, from, to) {
  return bytes.subarray(from, to).reduce((sum, byte) => sum * 256 + byte, 0);
}
