/**
 * A bounded list of what came, in an `<ol>`: publications, and notes between them.
 *
 * It promises that a stream of any speed costs one change of the page per frame, that items and bytes kept are
 * bounded (the oldest go first), that nothing published is ever taken for markup, and that a list that is scrolled
 * to its end stays there while one that is read further up stays where it is.
 *
 * A publication `{"file": {"name": …, "size": …}}` announces a file: the binary publications that follow are shown
 * as that one file until its size is reached.
 */
import { announcedFile, BYTES_KEPT, entryOf, FileEntry, Note } from "./entries.js";

const END = 32; // pixels: so near to its end, a list counts as scrolled to it

export class Log {
  #list;
  #scroller;
  #limit;
  #look;
  #onrender;
  #onwait;
  #paused = false;
  #entries = []; // in the page, oldest first
  #pending = []; // not in the page yet
  #changed = new Set(); // in the page, to be drawn again
  #file = null; // the announced file that binary publications belong to
  #scheduled = false;

  /**
   * Options:
   * - `limit`: entries kept;
   * - `look(entry)`: the page's own `Item` for a publication, or null;
   * - `onrender(added, wasAtEnd)` is called after each change of the page, with the entries that came to stand in it;
   * - `onwait(number)` is called while it is paused, with the number of publications that wait.
   */
  constructor(list, scroller, { limit = 200, look = () => null, onrender = () => {}, onwait = () => {} } = {}) {
    this.#list = list;
    this.#scroller = scroller;
    this.#limit = limit;
    this.#look = look;
    this.#onrender = onrender;
    this.#onwait = onwait;
  }

  add(publication) {
    if (publication.kind === "binary" && this.#file) {
      this.#continueFile(publication);
      return;
    }
    const file = announcedFile(publication);
    const entry = file ? new FileEntry(publication) : entryOf(publication);
    if (file) {
      this.#endFile();
      this.#file = entry.isComplete ? null : entry;
    }
    this.#queue(entry);
  }

  /** End the file that was coming: data that follows does not belong to it. */
  #endFile() {
    this.#file?.stop();
    this.#drawAgain(this.#file);
    this.#file = null;
  }

  /** A line between publications: `kind` is "good", "plain", or "bad", after which nothing goes on as before. */
  note(words, kind = "plain") {
    if (kind === "bad") this.#endFile();
    this.#queue(new Note(words, kind));
  }

  set limit(limit) {
    this.#limit = limit;
    this.#schedule();
  }

  /** Paused, what stands in the page stays as it is; what comes waits, as far as it would be kept. */
  set paused(paused) {
    this.#paused = paused;
    this.#schedule();
  }

  /** Take everything out. */
  clear() {
    this.#endFile();
    this.#pending.length = 0;
    for (const entry of this.#entries.splice(0)) entry.remove();
    this.#changed.clear();
  }

  get isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight <= END;
  }

  scrollToEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #continueFile(publication) {
    this.#file.append(publication);
    this.#drawAgain(this.#file);
    if (this.#file.isComplete) this.#file = null;
  }

  #drawAgain(entry) {
    if (!entry?.element) return;
    this.#changed.add(entry);
    this.#schedule();
  }

  #queue(entry) {
    this.#pending.push(entry);
    trim(this.#pending, this.#limit); // a hidden page draws nothing
    this.#schedule();
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => this.#render());
  }

  #render() {
    this.#scheduled = false;
    if (this.#paused) {
      this.#onwait(this.#pending.filter(isPublication).length);
      return;
    }
    const wasAtEnd = this.isAtEnd;
    for (const entry of this.#changed) entry.redraw();
    this.#changed.clear();
    const added = this.#pending.splice(0);
    this.#list.append(...added.map((entry) => entry.draw(this.#look)));
    this.#entries.push(...added);
    for (const entry of trim(this.#entries, this.#limit)) entry.remove();
    if (wasAtEnd) this.scrollToEnd();
    this.#onrender(added, wasAtEnd);
  }
}

/** Take the oldest entries out until neither their number nor their bytes are too many; returns them. */
function trim(entries, limit) {
  let kept = entries.reduce((sum, { size }) => sum + size, 0);
  let out = 0;
  while (entries.length - out > limit || (kept > BYTES_KEPT && entries.length - out > 1)) kept -= entries[out++].size;
  return entries.splice(0, out);
}


export function isPublication({ offset }) {
  return offset !== undefined;
}
