/**
 * Texts of a room's page: on its connection, on a peer's, on a camera or microphone that cannot be had.
 */
import { againWords } from "../socket/states.js";
import { say, sayCount, text } from "../socket/language.js";

const DEVICES = {
  camera: text("camera"),
  microphone: text("microphone"),
  "microphone and camera": text("microphone and camera"),
  "camera and microphone": text("camera and microphone"),
  "microphone or camera": text("microphone or camera"),
  "camera or microphone": text("camera or microphone"),
};

/** Texts on an error, by its name: what is the matter, and what to do. */
const TROUBLES = {
  SystemError: [
    text("Your system keeps your {devices} from this browser."),
    text("Allow it in the system's settings for privacy, then try again."),
  ],
  NotAllowedError: [
    text("This page may not use your {devices}."),
    text("Press the icon beside the page's address and allow it there, then try again."),
  ],
  NotFoundError: [text("No {either} was found."), text("Connect one, then try again.")],
  NotReadableError: [
    text("Your {devices} could not be started."),
    text("Another program may be using it: end that, or choose another device, then try again."),
  ],
  UnpluggedError: [text("Your {devices} was unplugged."), text("Connect it again, or choose another one.")],
  InsecureError: [
    text("Here your {devices} cannot be used."),
    text("Browsers give it only to pages whose address begins with https:."),
  ],
};
const OTHER = [text("Your {devices} cannot be used."), text("The browser says: {error}.")];

/**
 * What to do about an error of `getUserMedia`: `{title, advice}`. `kinds` is what cannot be had because of it: "camera",
 * "microphone" or both.
 */
export function troubleWords(kinds, error) {
  const same = { SecurityError: "NotAllowedError", AbortError: "NotReadableError", OverconstrainedError: "NotFoundError" };
  const name = error.name === "NotAllowedError" && isSystems(error) ? "SystemError" : (same[error.name] ?? error.name);
  const values = {
    devices: say(DEVICES[kinds.join(" and ")]),
    either: say(DEVICES[kinds.join(" or ")]),
    error: error.message || error.name,
  };
  const [title, advice] = (TROUBLES[name] ?? OTHER).map((words) => say(words, values));
  return { title, advice };
}

function isSystems({ message }) {
  return /system/i.test(message ?? "");
}

/** How the connection to the room is: `{label, detail}`; `others` is how many else are there. */
export function roomWords(state, others, now = Date.now()) {
  if (state.name === "joined") return { label: peopleWords(others + 1), detail: "" };
  if (state.name === "reconnecting") {
    const promise = others > 0 ? ` ${say("Picture and sound go on.")}` : "";
    return { label: say("Reconnecting"), detail: `${state.reason} ${againWords(state, now)}${promise}` };
  }
  if (state.name === "gone") return { label: say("Disconnected"), detail: state.reason };
  return { label: say("Connecting"), detail: "" };
}

function peopleWords(count) {
  return count === 1 ? say("Only you") : sayCount(count, "{count} person", "{count} people");
}

/** A text on the fault of the connection to a peer; "" when there is none. */
export function linkWords({ isAbsent, link }) {
  if (link.state === "failed") return say("No connection. Trying again …");
  if (link.state === "disconnected") return say("Connection lost …");
  if (link.state !== "connected") return say("Connecting …");
  return isAbsent ? say("Reconnecting …") : "";
}
