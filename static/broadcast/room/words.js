/**
 * Texts of a room's page: on its connection, on a peer's, on a camera or microphone that cannot be had.
 */
/**
 * What to do about an error of `getUserMedia`: `{title, advice}`. `kinds` is what cannot be had because of it: "camera",
 * "microphone" or both.
 */
export function troubleWords(kinds, error) {
  const both = kinds.join(" and ");
  const words = {
    NotAllowedError: isSystems(error)
      ? [`Your system keeps your ${both} from this browser.`, "Allow it in the system's settings for privacy, then try again."]
      : [`This page may not use your ${both}.`, "Press the icon beside the page's address and allow it there, then try again."],
    NotFoundError: [`No ${kinds.join(" or ")} was found.`, "Connect one, then try again."],
    NotReadableError: [
      `Your ${both} could not be started.`,
      "Another program may be using it: end that, or choose another device, then try again.",
    ],
    UnpluggedError: [`Your ${both} was unplugged.`, "Connect it again, or choose another one."],
    InsecureError: [
      `Here your ${both} cannot be used.`,
      "Browsers give it only to pages whose address begins with https:.",
    ],
  };
  const same = { SecurityError: "NotAllowedError", AbortError: "NotReadableError", OverconstrainedError: "NotFoundError" };
  const [title, advice] = words[same[error.name] ?? error.name] ?? [
    `Your ${both} cannot be used.`,
    `The browser says: ${error.message || error.name}.`,
  ];
  return { title, advice };
}

function isSystems({ message }) {
  return /system/i.test(message ?? "");
}

/** How the connection to the room is: `{label, detail}`; `others` is how many else are there. */
export function roomWords(state, others, now = Date.now()) {
  if (state.name === "joined") return { label: others === 0 ? "Only you" : `${others + 1} people`, detail: "" };
  if (state.name === "reconnecting") {
    const seconds = state.at === null ? 0 : Math.max(0, Math.ceil((state.at - now) / 1000));
    const when = seconds > 0 ? `Trying again in ${seconds}\u00a0s.` : "Trying again now.";
    const promise = others > 0 ? " Picture and sound go on." : "";
    return { label: "Reconnecting", detail: `${state.reason} ${when}${promise}` };
  }
  if (state.name === "gone") return { label: "Disconnected", detail: state.reason };
  return { label: "Connecting", detail: "" };
}

/** A text on the fault of the connection to a peer; "" when there is none. */
export function linkWords({ isAbsent, link }) {
  if (link.state === "failed") return "No connection. Trying again …";
  if (link.state === "disconnected") return "Connection lost …";
  if (link.state !== "connected") return "Connecting …";
  return isAbsent ? "Reconnecting …" : "";
}
