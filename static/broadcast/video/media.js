/**
 * Recordings as streams carry them, whatever their container: WebM or fragmented MP4. Pure functions over bytes.
 */
import { isMP4, MP4Cutter, readMP4Header, startsMP4Entry } from "./mp4.js";
import { isWebM, readWebMHeader, startsWebMEntry, WebMCutter } from "./webm.js";
import { WebMJoiner } from "./webm-joiner.js";

const CONTAINERS = {
  webm: { is: isWebM, read: readWebMHeader, startsEntry: startsWebMEntry, Cutter: WebMCutter, Joiner: WebMJoiner },
  mp4: { is: isMP4, read: readMP4Header, startsEntry: startsMP4Entry, Cutter: MP4Cutter },
};

/** Whether what is told of a stream, its content type, says that it is video or audio. */
export function isMediaType(contentType) {
  return /^(video|audio)\//.test(contentType ?? "");
}

/** The facts in a header: see `Header`. Null: it is no header of a recording, or a broken one. */
export function readHeader(bytes) {
  const container = Object.values(CONTAINERS).find(({ is }) => is(bytes));
  const said = container && attempt(() => container.read(bytes), null);
  return said ? new Header(container, said) : null;
}

/** Cuts what a browser records under this MIME type. */
export function cutterFor(mimeType) {
  const [, name] = /^(?:video|audio)\/(\w+)/.exec(mimeType);
  return new CONTAINERS[name].Cutter();
}

/** The tracks of a recording: its `mimeType` with the codecs (null: not known), and whether it `hasVideo`, `hasAudio`. */
class Header {
  #container;
  #said;

  constructor(container, said) {
    this.#container = container;
    this.#said = said;
    const { mimeType, hasVideo, hasAudio } = said;
    Object.assign(this, { mimeType, hasVideo, hasAudio });
  }

  /** Whether a newcomer can start with these bytes. */
  isEntry(bytes) {
    return attempt(() => this.#container.startsEntry(bytes, this.#said), false);
  }

  /** Changes the data for a SourceBuffer: see `WebMJoiner`. Null: it goes there as it came. */
  joiner() {
    const { Joiner } = this.#container;
    return Joiner ? new Joiner(this.#said) : null;
  }
}

/** Take published data, which may be anything. */
function attempt(read, otherwise) {
  try {
    return read();
  } catch (error) {
    if (error instanceof RangeError) return otherwise;
    throw error;
  }
}
