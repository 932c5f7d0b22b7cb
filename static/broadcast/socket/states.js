/**
 * The states of a connection in a person's words: `{label, detail}`, a word or two and a sentence.
 *
 * Used wherever a state is shown, so that the same thing is called the same everywhere.
 */

const LISTENER = {
  connecting: ["Connecting", "One moment."],
  live: ["Live", "Everything appears here as it is sent."],
  idle: ["Waiting for the streamer", "Nobody is sending just now. This page stays ready."],
  closed: ["Closed", "This listener was closed."],
};

const PICTURE = {
  ...LISTENER,
  live: ["Live", "You see and hear it as it happens."],
  idle: ["Waiting for the streamer", "It begins here by itself."],
  resting: ["Paused", "Nothing is loaded meanwhile. It goes on live."],
};

const STREAMER = {
  connecting: ["Connecting", "One moment."],
  live: ["On air", "What you send goes out at once."],
  closed: ["Closed", "This studio was closed."],
  off: ["Off air", "Nobody sees or hears you yet."],
};

export function listenerWords(state, now = Date.now()) {
  return words(LISTENER, state, now, "What is missed meanwhile follows.");
}

/** The same, of a listener that shows video. */
export function pictureWords(state, now = Date.now()) {
  return words(PICTURE, state, now, "It goes on live.");
}

export function streamerWords(state, now = Date.now()) {
  return words(STREAMER, state, now, "What you send meanwhile follows.");
}

/** "1 listener", "2 listeners", "1,200 listeners". */
export function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** "512 bytes", "64 KiB", "1.5 MiB". */
export function bytes(number) {
  if (number < 1024) return count(number, "byte");
  const units = ["KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(Math.floor(Math.log2(number) / 10), units.length);
  return `${Number((number / 1024 ** power).toFixed(1)).toLocaleString("en")} ${units[power - 1]}`;
}

/** The news in a join for a listener that was here before, and whether it is good or bad. */
export function joinedWords({ outcome, missed }) {
  if (outcome === "recovered") return ["Connected again. Nothing was lost.", "good"];
  if (outcome === "new-history") {
    return ["Connected again. A new history began: what was sent in between cannot be known.", "bad"];
  }
  if (outcome === "missed") return [`Connected again. Some publications were missed: ${range(missed)}.`, "bad"];
  return ["", ""];
}

/** A text on the publications that did not come. */
export function skippedWords(skipped) {
  const number = skipped.to - skipped.from + 1;
  return `${count(number, "publication")} skipped: ${range(skipped)}.`;
}

function range({ from, to }) {
  return from === to ? `#${from}` : `#${from} to #${to}`;
}

function words(known, state, now, promise) {
  if (state.name === "behind") {
    const detail = `${count(state.missing, "publication")} ${state.missing === 1 ? "is" : "are"} still under way.`;
    return { label: "Catching up", detail };
  }
  if (state.name === "gone") return { label: "Disconnected", detail: state.reason };
  if (state.name === "reconnecting") {
    const seconds = state.at === null ? 0 : Math.max(0, Math.ceil((state.at - now) / 1000));
    const when = seconds > 0 ? `Trying again in ${seconds}\u00a0s.` : "Trying again now.";
    return { label: "Reconnecting", detail: `${state.reason} ${when} ${promise}` };
  }
  const [label, detail] = known[state.name];
  return { label, detail };
}
