/**
 * What a room's page says to a person: of its connection, of a peer's, of a camera or microphone that cannot be had.
 */
/** What to do about an error of `getUserMedia`: `{title, advice}`. `kind` is "camera" or "microphone". */
export function troubleWords(kind, error) {
  const Kind = kind[0].toUpperCase() + kind.slice(1);
  const words = {
    NotAllowedError: isSystems(error)
      ? [`Your system keeps the ${kind} from this browser.`, `Allow it in the system's settings for privacy, then try again.`]
      : [
          `The ${kind} is not allowed for this page.`,
          `Press the icon beside the address, allow the ${kind} there, then try again.`,
        ],
    NotFoundError: [`No ${kind} was found.`, `Connect one, then try again.`],
    NotReadableError: [
      `The ${kind} does not start.`,
      `Another program may be using it: end that, or choose another ${kind}, then try again.`,
    ],
    UnpluggedError: [`The ${kind} was unplugged.`, `Connect it again, or choose another one.`],
    InsecureError: [
      `${Kind}s work only on pages that came safely.`,
      `Open this page with an address that begins with https:.`,
    ],
  };
  const same = { SecurityError: "NotAllowedError", AbortError: "NotReadableError", OverconstrainedError: "NotFoundError" };
  const [title, advice] = words[same[error.name] ?? error.name] ?? [
    `The ${kind} cannot be used.`,
    `The browser says: ${error.message || error.name}.`,
  ];
  return { title, advice };
}

function isSystems({ message }) {
  return /system/i.test(message ?? "");
}

/** How the connection to the room is: `{label, detail}`; `others` is how many else are there. */
export function roomWords(state, others, now = Date.now()) {
  if (state.name === "joined") return { label: others === 0 ? "Only you are here" : `${others + 1} people`, detail: "" };
  if (state.name === "reconnecting") {
    const seconds = state.at === null ? 0 : Math.max(0, Math.ceil((state.at - now) / 1000));
    const when = seconds > 0 ? `Trying again in ${seconds}\u00a0s.` : "Trying again now.";
    const promise = others > 0 ? " Picture and sound go on." : "";
    return { label: "Reconnecting", detail: `${state.reason} ${when}${promise}` };
  }
  if (state.name === "gone") return { label: "Disconnected", detail: state.reason };
  return { label: "Connecting", detail: "" };
}

/** What is wrong with the connection to a peer; "" when nothing is. */
export function linkWords({ isAbsent, link }) {
  if (link.state === "failed") return "No connection. Trying again …";
  if (link.state === "disconnected") return "Connection lost …";
  if (link.state !== "connected") return "Connecting …";
  return isAbsent ? "Reconnecting …" : "";
}
