/**
 * The page of a room: first a look at oneself, then the call, at last the way back.
 *
 * What happens is said in `call.js` (who is there), `own-media.js` (what is sent) and `signaling.js` (the socket); here it is
 * shown, and what a person presses is passed on.
 */
import { Announcer } from "../element/announcer.js";
import { Call } from "./call.js";
import { Chat } from "./chat.js";
import { socketURL } from "../socket/connection.js";
import "../element/copy.js";
import { Link } from "./link.js";
import { Loudness } from "./loudness.js";
import { Media } from "./own-media.js";
import { roomWords, troubleWords } from "./words.js";
import { Signaling } from "./signaling.js";
import { Tiles } from "./tiles.js";
import { userAgent } from "./user-agent.js";
import { uuid } from "../socket/uuid.js";
import { say, text } from "../socket/language.js";

const NAME = "broadcast-room-name"; // where the name is kept for the next time
const NAMELESS = say("Guest");
const NONE = { camera: text("No camera"), microphone: text("No microphone") };
const NAME_LENGTH = 50; // code points that the protocol allows
const SELF = "self"; // whose tile is one's own
const LISTENING = 200; // milliseconds between two looks at who is heard

const page = document.querySelector("[data-room]");
const find = (name) => page.querySelector(`[data-${name}]`);
const all = (name) => page.querySelectorAll(`[data-${name}]`);

const media = new Media();
const shown = new MediaStream(); // what others see of us
const announcer = new Announcer((text) => setText(find("spoken"), text));
const tiles = new Tiles(find("tiles"), find("tile-template"));
const chat = new Chat(find("chat"), find("chat-button"), sendMessage);
let signaling = null;
let call = null;
let loudness = null; // of our microphone
let countdown = null;

// -- the name

/** At most so many characters, and never nothing. */
function ownName() {
  return [...find("own-name").value.trim()].slice(0, NAME_LENGTH).join("") || NAMELESS;
}

function rename(name) {
  for (const field of all("own-name")) if (field.value !== name) field.value = name;
  recall("setItem", name);
  signaling?.updateStatus({ name: ownName() });
  showSelf();
}

/** Storage may be forbidden, which is no trouble: then the name is typed again. */
function recall(what, ...values) {
  try {
    return localStorage[what](NAME, ...values);
  } catch {
    return null;
  }
}

// -- stages: "lobby", "call", "left"

function enter() {
  const visit = uuid();
  const agent = userAgent();
  const { socket, room, token } = page.dataset;
  const status = { name: ownName(), user_agent: agent, visit };
  signaling = new Signaling(socketURL(socket, token ? { token } : {}), room, status);
  call = new Call(signaling, { visit, userAgent: agent, makeLink });
  signaling.addEventListener("state", ({ detail }) => became(detail));
  signaling.addEventListener("refused", ({ detail }) => refused(detail.message));
  call.addEventListener("came", ({ detail }) => came(detail.peer));
  call.addEventListener("went", ({ detail }) => went(detail.peer));
  call.addEventListener("changed", ({ detail }) => showPeer(detail.peer));
  call.addEventListener("message", ({ detail }) => heard(detail.peer, detail.text));
  setText(find("refused"), "");
  showStage("call", "room-heading");
  mediaChanged();
  signaling.open();
}

function makeLink(options) {
  return new Link({ ...options, media, configuration: { iceServers: JSON.parse(page.dataset.iceServers) } });
}

function leave() {
  endCall();
  media.stop();
  showStage("left", "left-heading");
}

function refused(message) {
  endCall();
  setText(find("refused"), message);
  showStage("lobby", "enter");
}

/** Back to the look at oneself. */
function comeBack() {
  showStage("lobby", "enter");
  media.start();
}

function endCall() {
  clearInterval(countdown);
  announcer.stop();
  find("settings").close();
  call?.close();
  call = signaling = null;
  tiles.clear();
  chat.clear();
}

function showStage(name, focus) {
  page.dataset.stage = name;
  for (const stage of ["lobby", "call", "left"]) find(stage).hidden = stage !== name;
  find(focus).focus();
}

// -- the connection to the room

function became(state) {
  clearInterval(countdown);
  if (state.name === "closed") return;
  if (state.name === "gone") {
    refused(state.reason);
    return;
  }
  const wasLost = find("call").dataset.connection === "reconnecting";
  showState(state);
  if (state.at) countdown = setInterval(() => showState(state), 250);
  if (state.name === "reconnecting" && !wasLost) announcer.say(say("Reconnecting"));
  if (state.name === "joined") announcer.say(say("Connected"));
}

function showState(state) {
  const { label, detail } = roomWords(state, call.peers.size);
  find("call").dataset.connection = state.name;
  setText(find("state"), label);
  setText(find("detail"), detail);
  find("retry").hidden = state.name !== "reconnecting" || state.at === null;
  find("alone").hidden = state.name !== "joined" || call.peers.size > 0;
}

// -- the others

function came(peer) {
  showPeer(peer);
  showState(signaling.state);
  announcer.say(say("{name} is here", { name: nameOf(peer) }));
}

function went(peer) {
  tiles.remove(peer);
  if (!signaling) return;
  showState(signaling.state);
  announcer.say(say("{name} left", { name: nameOf(peer) }));
}

function showPeer(peer) {
  tiles.of(peer).showPeer(peer);
}

function nameOf({ name }) {
  return name || NAMELESS;
}

// -- the chat

function sendMessage(text) {
  const went = call?.sendMessage(text) ?? false;
  if (went) chat.add(say("You"), text, true);
  return went;
}

function heard(peer, text) {
  chat.add(nameOf(peer), text);
  if (find("chat").hidden) announcer.say(say("{name} writes: {text}", { name: nameOf(peer), text }));
}

// -- what is sent

function mediaChanged() {
  call?.replaceTracks(media);
  call?.tellSending(media.sending);
  showTrack();
  showSelf();
  showSwitches();
  showDevices();
  showTroubles();
}

/** The picture of ourselves is that of the screen while it is shown. */
function showTrack() {
  const track = media.screenTrack ?? media.cameraTrack;
  for (const old of shown.getTracks()) if (old !== track) shown.removeTrack(old);
  if (track && !shown.getTracks().includes(track)) shown.addTrack(track);
  // Nothing at all in it would keep the page from ever being loaded.
  const picture = track ? shown : null;
  if (find("preview").srcObject !== picture) find("preview").srcObject = picture;
  find("preview-picture").dataset.camera = media.isCameraOn;
  const asks = say("Your browser asks whether this page may use your camera and microphone.");
  setText(find("preview-words"), media.isAsking ? asks : say("Your camera is off."));
}

function showSelf() {
  if (call) tiles.of(SELF).showSelf(ownName(), shown, media.sending);
}

function showSwitches() {
  const names = {
    microphone: [say("Mute"), say("Unmute")],
    camera: [say("Camera off"), say("Camera on")],
    screen: [say("Stop sharing"), say("Share screen")],
  };
  for (const button of all("switch")) {
    const kind = button.dataset.switch;
    const isOn = media.sending[kind];
    button.dataset.on = isOn;
    button.disabled = media.isAsking;
    setText(button.querySelector("[data-words]"), names[kind][isOn ? 0 : 1]);
  }
  for (const button of page.querySelectorAll('[data-switch="screen"]')) button.hidden = !media.canShareScreen;
  followMicrophone();
}

function showDevices() {
  for (const select of all("devices")) {
    const kind = select.dataset.devices;
    const devices = media.devices[kind];
    const options = devices.map(({ id, label }) => new Option(label, id, false, id === media.chosen[kind]));
    select.replaceChildren(...(options.length ? options : [new Option(say(NONE[kind]), "")]));
    select.disabled = options.length === 0;
  }
}

/** One trouble that both have is told once. */
function showTroubles() {
  const { camera, microphone } = media.troubles;
  const isSame = camera && microphone && camera.name === microphone.name;
  showTrouble("camera", isSame ? ["camera", "microphone"] : ["camera"], camera);
  showTrouble("microphone", ["microphone"], isSame ? null : microphone);
}

function showTrouble(place, kinds, error) {
  const { title, advice } = error ? troubleWords(kinds, error) : { title: "", advice: "" };
  for (const card of page.querySelectorAll(`[data-trouble="${place}"]`)) {
    card.hidden = !error;
    setText(card.querySelector("[data-title]"), title);
    setText(card.querySelector("[data-advice]"), advice);
    card.querySelector("button").onclick = () => media.start(kinds);
  }
}

function followMicrophone() {
  const isOn = media.isMicrophoneOn;
  if (isOn && !loudness) loudness = new Loudness(media.audioTrack);
  if (!isOn) {
    loudness?.close();
    loudness = null;
  }
}

function listen() {
  const own = loudness?.value ?? 0;
  find("level").style.setProperty("--level", own);
  if (!call) return;
  tiles.of(SELF).hear(own);
  for (const peer of call.peers) tiles.of(peer).hear(peer.link.loudness);
}

const SWITCHES = {
  microphone: () => media.setMicrophone(!media.isMicrophoneOn).then(() => explain("microphone")),
  camera: () => media.setCamera(!media.isCameraOn).then(() => explain("camera")),
  screen: () => (media.isScreenOn ? media.stopScreen() : media.shareScreen()),
};

/** In a call it is told in the settings why something cannot be switched on. */
function explain(kind) {
  if (call && media.troubles[kind] && !find("settings").open) find("settings").showModal();
}

for (const button of all("switch")) button.addEventListener("click", () => SWITCHES[button.dataset.switch]());
for (const select of all("devices")) {
  select.addEventListener("change", () => media.choose(select.dataset.devices, select.value));
}
for (const field of all("own-name")) field.addEventListener("change", () => rename(field.value));

find("enter-form").addEventListener("submit", (event) => {
  event.preventDefault();
  enter();
});
find("leave").addEventListener("click", leave);
find("come-back").addEventListener("click", comeBack);
find("retry").addEventListener("click", () => signaling.retry());
find("settings-button").addEventListener("click", () => find("settings").showModal());

// Nobody waits for who closed the page.
addEventListener("pagehide", () => call?.close());
addEventListener("pageshow", ({ persisted }) => persisted && location.reload());

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const kept = recall("getItem");
for (const field of all("own-name")) if (!field.value && kept) field.value = kept;
media.addEventListener("change", mediaChanged);
setInterval(listen, LISTENING);
media.start();
