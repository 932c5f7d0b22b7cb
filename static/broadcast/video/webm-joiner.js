/**
 * Joins the clusters of a live WebM, for a SourceBuffer: all that can be are one.
 *
 * Chromium records a cluster every few frames. Firefox begins to decode again with each that has something from before
 * the end of the last one, as nearly all have, and passes over the pictures up to the next key frame: of 20 in a second
 * it showed two.
 */
import { join } from "./bytes.js";
import {
  BLOCK_GROUP,
  blockIn,
  CLUSTER,
  elementAt,
  numberAt,
  SEGMENT,
  SIMPLE_BLOCK,
  startsWebMEntry,
  TIMESTAMP,
  unsigned,
} from "./webm.js";

const BLOCKS = new Set([SIMPLE_BLOCK, BLOCK_GROUP]);
// The range of a block's time, which has 16 bits, and counts from that of its cluster.
const LEAST = -0x8000;
const MOST = 0x7fff;
const LARGEST = 16 * 2 ** 20; // bytes of a block
const LONG = 0x4000; // milliseconds, as a rule: from then on a key frame begins another cluster

export class WebMJoiner {
  #header;
  #pending = new Uint8Array(); // no whole element yet
  #passing = 0; // bytes of an element that is passed over, which are still to come
  #time = 0; // of the cluster that comes
  #base = null; // of the one that was handed on last; null: what comes begins one

  /** `header`: what `readWebMHeader` said. */
  constructor(header) {
    this.#header = header;
  }

  /** Begin a cluster with the next data. The buffer must first forget half an element, if it has one. */
  restart() {
    this.#pending = new Uint8Array();
    this.#passing = 0;
    this.#base = null;
  }

  /** Whether it is time to: with these bytes it does no harm. */
  isLong(bytes) {
    return this.#time - this.#base > LONG && this.#pending.length === 0 && startsWebMEntry(bytes, this.#header);
  }

  /** The blocks that are whole by now. RangeError: this is no WebM. */
  push(bytes) {
    const passed = Math.min(this.#passing, bytes.length);
    this.#passing -= passed;
    this.#pending = join(this.#pending, bytes.subarray(passed));
    const parts = [];
    let at = 0;
    for (let element = this.#next(at); element; element = this.#next(at)) at = this.#take(element, parts);
    this.#pending = this.#pending.slice(at);
    return join(...parts);
  }

  /** The element at a place, if it is whole or need not be. */
  #next(at) {
    const element = elementAt(this.#pending, at);
    const isNeeded = element && (BLOCKS.has(element.id) || element.id === TIMESTAMP);
    if (isNeeded && element.end - at > LARGEST) throw new RangeError("a block is too large to wait for");
    return isNeeded && element.end > this.#pending.length ? null : element;
  }

  /** Where the next one begins. */
  #take(element, parts) {
    const { id, start, end } = element;
    if (id === CLUSTER || id === SEGMENT) return start;
    if (end === Infinity) throw new RangeError("only clusters may be endless");
    if (id === TIMESTAMP) this.#time = unsigned(this.#pending, start, end);
    else if (BLOCKS.has(id)) this.#join(element, parts);
    this.#passing = Math.max(0, end - this.#pending.length);
    return end - this.#passing;
  }

  #join(element, parts) {
    const block = blockIn(this.#pending, element);
    const place = block && numberAt(this.#pending, block.start)?.end; // behind the number of its track
    if (!place || place + 2 > block.end) throw new RangeError("this is no WebM: a block has no beginning");
    const data = this.#pending.slice(element.at, element.end);
    const view = new DataView(data.buffer);
    const relative = view.getInt16(place - element.at);
    let time = this.#time + relative - this.#base;
    if (this.#base === null || time < LEAST || time > MOST) {
      this.#base = this.#time;
      parts.push(beginning(this.#base));
      time = relative;
    }
    view.setInt16(place - element.at, time);
    parts.push(data);
  }
}

/** The beginning of a cluster of unknown size. */
function beginning(time) {
  const bytes = new Uint8Array(22);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, CLUSTER);
  view.setBigUint64(4, 0x01ffffffffffffffn);
  view.setUint16(12, (TIMESTAMP << 8) | 0x88);
  view.setBigUint64(14, BigInt(time));
  return bytes;
}
