/**
 * The channels of a page: each message is heard once, and a gap is told.
 *
 * A message is `{channel, payload, epoch, offset}`. One without `payload` says where a channel begins: what comes next
 * on it has a higher offset. With `page` it was for this page alone, and its position is one in a channel of the page's
 * own, which is called "". It promises:
 * - handlers hear each message once, in order: what was heard before is dropped;
 * - where messages were missed, `onmissed(channel)` is told, once, before what comes after them: where a channel begins
 *   beyond what was heard last, where offsets are left out, where a new history (another epoch) began, and where a
 *   channel that was heard on the connection before begins on this one no more;
 * - a handler that throws disturbs no other one; what it threw is reported as the browser does it.
 */

export class Channels {
  #onmissed;
  #handlers = new Map(); // channel → who hears it, in the order they came
  #positions = new Map(); // channel → {epoch, offset} of what was heard last
  #silent = new Set(); // channels that were heard before, and have not begun on this connection yet

  constructor(onmissed) {
    this.#onmissed = onmissed;
  }

  /** Call `handler(payload, {channel, offset, epoch})` for what comes on `channel`, "*": on all. */
  on(channel, handler) {
    const hearer = { handler }; // one for each time that it is given
    if (!this.#handlers.has(channel)) this.#handlers.set(channel, new Set());
    this.#handlers.get(channel).add(hearer);
    return () => this.#handlers.get(channel).delete(hearer);
  }

  /** There is another connection, where every channel is to begin again. Returns whether any was heard before. */
  restart() {
    this.#silent = new Set(this.#positions.keys());
    return this.#silent.size > 0;
  }

  /** All channels of this connection have begun. */
  begun() {
    const silent = [...this.#silent];
    this.#silent.clear();
    for (const channel of silent) {
      this.#positions.delete(channel);
      this.#onmissed(channel);
    }
  }

  hear({ channel, epoch, offset, page = false, ...message }) {
    const counted = page ? "" : channel;
    this.#silent.delete(counted);
    const last = this.#positions.get(counted);
    const begins = !("payload" in message);
    if (last?.epoch === epoch && offset <= last.offset) return;
    this.#positions.set(counted, { epoch, offset });
    if (last && (last.epoch !== epoch || begins || offset > last.offset + 1)) this.#onmissed(counted);
    if (!begins) this.#tell(message.payload, { channel, offset, epoch });
  }

  /** Where each channel was heard last, `{channel: [epoch, offset]}`: to go on after. */
  get positions() {
    return Object.fromEntries([...this.#positions].map(([channel, { epoch, offset }]) => [channel, [epoch, offset]]));
  }

  #tell(payload, position) {
    for (const channel of [position.channel, "*"]) {
      for (const { handler } of [...(this.#handlers.get(channel) ?? [])]) {
        try {
          handler(payload, position);
        } catch (error) {
          reportError(error);
        }
      }
    }
  }
}
