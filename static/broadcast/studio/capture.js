/**
 * Cameras, microphones and screens: what there is, opening it, and what to do when it cannot be had.
 */
import { say, text } from "../socket/language.js";

const MICROPHONE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
const WHAT = { camera: text("camera or microphone"), screen: text("screen"), microphone: text("microphone") };
const SILENT = "none"; // instead of the id of a microphone

/** `[{id, name}]` of the devices of a kind, "videoinput" or "audioinput". Without a permission their names are not told. */
export async function devices(kind) {
  const found = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  const named = found.filter((device) => device.kind === kind && device.deviceId !== "");
  return named.map(({ deviceId, label }, i) => ({ id: deviceId, name: label || say("Number {number}", { number: i + 1 }) }));
}

/**
 * A MediaStream of `source`: "camera", "screen" or "microphone". `camera` and `microphone` are ids of devices, "" for
 * any; a microphone may be "none". Of a screen its own sound is taken where no microphone is chosen.
 */
export async function open({ source, camera, microphone, quality }) {
  if (!navigator.mediaDevices) throw new DOMException("", "SecurityError");
  if (source === "screen") return openScreen(microphone, quality);
  const video = source === "camera" ? { ...device(camera), ...size(quality) } : false;
  // A broadcast of a microphone has one.
  const audio = microphone === SILENT && source === "camera" ? false : sound(microphone);
  return navigator.mediaDevices.getUserMedia({ video, audio });
}

/** Advice for a person on an error of `open`. */
export function remedy({ name }, source) {
  const what = say(WHAT[source]);
  switch (name) {
    case "NotAllowedError":
      return source === "screen"
        ? say("No screen was chosen. Press the button again and choose one; the system may have to allow it too.")
        : say("This page may not use the {what}. Allow it beside the address of the page, then try again.", { what });
    case "NotFoundError":
    case "OverconstrainedError":
      return say("There is no such {what}. Plug one in, or choose another source.", { what });
    case "NotReadableError":
    case "AbortError":
      return say("The {what} is busy or does not answer. Close what else uses it, then try again.", { what });
    case "SecurityError":
    case "NotSupportedError":
    case "TypeError":
      return say("Browsers give a page the {what} only when it came over https, or from this machine.", { what });
    default:
      return say("The {what} could not be opened ({name}).", { what, name });
  }
}

async function openScreen(microphone, quality) {
  if (!navigator.mediaDevices.getDisplayMedia) throw new DOMException("", "NotFoundError");
  const wantsOwn = microphone === SILENT;
  const screen = await navigator.mediaDevices.getDisplayMedia({ video: size(quality), audio: wantsOwn });
  if (wantsOwn) return screen;
  try {
    const voice = await navigator.mediaDevices.getUserMedia({ audio: sound(microphone) });
    return new MediaStream([...screen.getVideoTracks(), ...voice.getAudioTracks()]);
  } catch (error) {
    stop(screen);
    throw error;
  }
}

/** Give the devices of a stream back. */
export function stop(stream) {
  for (const track of stream.getTracks()) track.stop();
}

function device(id) {
  return id ? { deviceId: { exact: id } } : {};
}

function sound(id) {
  return { ...MICROPHONE, ...device(id === SILENT ? "" : id) };
}

function size({ width, height, frameRate }) {
  return { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: frameRate, max: frameRate } };
}
