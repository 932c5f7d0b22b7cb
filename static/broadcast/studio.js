/**
 * The studio: a person feeds a stream with text, JSON and files, and sees what became of it.
 */
import { bytes, count, streamerWords } from "./states.js";
import { Streamer } from "./streamer.js";

const EPOCH_SHOWN = 8;
const SENT_SHOWN = 100;
const EXCERPT = 200;

const page = document.querySelector("[data-studio]");
const find = (name) => page.querySelector(`[data-${name}]`);
const streamer = new Streamer(page.dataset.src, { token: page.dataset.token });
const sent = []; // what the list of sent things shows, newest first: {number, element, fate}

// -- the state

let countdown = null;

streamer.addEventListener("state", ({ detail }) => became(detail));
streamer.addEventListener("ready", ({ detail }) => {
  showFigures();
  if (detail.newHistory) tell("The server began a new history. What it had not accepted is sent again.");
});
streamer.addEventListener("accepted", showFigures);
streamer.addEventListener("listeners", showFigures);
streamer.addEventListener("error", ({ detail }) => tell(detail.message));

function became(state) {
  clearInterval(countdown);
  showState(state);
  if (state.at) countdown = setInterval(() => showState(state), 250);
  page.dataset.state = state.name;
  find("retry").hidden = state.name !== "reconnecting" || state.at === null;
  find("again").hidden = state.name !== "gone";
  for (const button of page.querySelectorAll("[data-sends]")) button.disabled = state.name === "gone";
  showFigures();
}

function showState(state) {
  const { label, detail } = streamerWords(state);
  setText(find("state"), label);
  setText(find("detail"), detail);
}

function showFigures() {
  const { position, listeners, accepted, count: all } = streamer;
  setText(find("listeners"), count(listeners, "listener"));
  setText(find("accepted"), `${accepted.toLocaleString("en")} of ${all.toLocaleString("en")}`);
  if (position) {
    setText(find("epoch"), position.epoch.slice(0, EPOCH_SHOWN));
    find("epoch").title = position.epoch;
    setText(find("offset"), position.offset.toLocaleString("en"));
  }
  for (const item of sent) showFate(item);
}

function tell(words) {
  setText(find("message"), words);
}

// -- what is sent

/** Publish, and show it in the list; false when it could not be. */
async function publish(kind, excerpt, send) {
  tell("");
  const before = streamer.count;
  const sending = send();
  // A send that was refused has no number.
  const item = streamer.count > before ? listSent(streamer.count, kind, excerpt) : null;
  showFigures();
  try {
    await sending;
    return true;
  } catch (error) {
    if (item) item.fate = "Failed";
    showFigures();
    tell(refusal(error));
    return false;
  }
}

function refusal(error) {
  return `Not sent: ${error.message}`;
}

function listSent(number, kind, excerpt) {
  const element = find("sent-template").content.firstElementChild.cloneNode(true);
  setText(element.querySelector("[data-kind]"), kind);
  setText(element.querySelector("[data-excerpt]"), excerpt.slice(0, EXCERPT));
  const item = { number, element };
  sent.unshift(item);
  find("sent").prepend(element);
  for (const old of sent.splice(SENT_SHOWN)) old.element.remove();
  find("nothing-sent").hidden = true;
  showFate(item);
  return item;
}

function showFate({ number, element, fate }) {
  const accepted = number <= streamer.accepted;
  element.dataset.fate = fate ?? (accepted ? "Accepted" : "On its way");
  setText(element.querySelector("[data-words]"), element.dataset.fate);
}

find("text-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = find("text");
  const text = input.value;
  if (text === "") return tell("Write something first.");
  input.value = "";
  input.focus();
  if (!(await publish("Text", text, () => streamer.send(text))) && input.value === "") input.value = text;
});

find("json").addEventListener("input", () => checkJSON());

find("json-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = find("json");
  const { value, valid } = checkJSON();
  if (!valid) return input.focus();
  await publish("JSON", JSON.stringify(value), () => streamer.sendJSON(value));
});

/** `{valid, value}` of what stands in the JSON field, told below it. */
function checkJSON() {
  const input = find("json");
  try {
    const value = JSON.parse(input.value);
    input.removeAttribute("aria-invalid");
    setText(find("json-hint"), typeof value === "string" ? "Valid. A string is published as text." : "Valid JSON.");
    return { valid: true, value };
  } catch (error) {
    input.setAttribute("aria-invalid", "true");
    setText(find("json-hint"), input.value.trim() === "" ? "Write some JSON first." : `Not valid: ${error.message}`);
    return { valid: false };
  }
}

/** Ctrl+Enter, or Cmd+Enter, sends from any field. */
page.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || !event.target.form) return;
  event.preventDefault();
  event.target.form.requestSubmit();
});

// -- a file

let cancel = null;

find("file-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const [file] = find("file").files;
  if (file && !cancel) sendFile(file);
  else if (!file) tell("Choose a file first.");
});

find("cancel").addEventListener("click", () => cancel?.abort());

async function sendFile(file) {
  const { name, size, type } = file;
  const item = listSent(Infinity, "File", `${name}, ${bytes(size)}`);
  cancel = new AbortController();
  find("file-going").hidden = false;
  showProgress({ accepted: 0, total: size });
  try {
    // The announcement is not waited for: it stands before the first chunk, and cancelling must not wait either.
    const announced = find("announce").checked ? streamer.sendJSON({ file: { name, size, type } }) : null;
    const { signal } = cancel;
    await Promise.all([announced, streamer.sendFile(file, { onprogress: showProgress, signal })]);
    item.number = streamer.accepted;
    tell(`${name} was sent: ${bytes(size)}.`);
  } catch (error) {
    item.fate = error.name === "AbortError" ? "Cancelled" : "Failed";
    tell(item.fate === "Cancelled" ? `${name} was cancelled. What was sent stays.` : refusal(error));
  }
  cancel = null;
  find("file-going").hidden = true;
  showFigures();
}

function showProgress({ accepted, total }) {
  find("progress").max = Math.max(total, 1);
  find("progress").value = total === 0 ? 1 : accepted;
  setText(find("progress-words"), `${bytes(accepted)} of ${bytes(total)}`);
  showFigures();
}

// -- the way of sending: tabs, with arrow keys

const tabs = [...page.querySelectorAll('[role="tab"]')];

tabs.forEach((tab, i) => {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (!step) return;
    const next = tabs.at((i + step) % tabs.length);
    choose(next);
    next.focus();
  });
});

function choose(chosen) {
  for (const tab of tabs) {
    tab.setAttribute("aria-selected", tab === chosen);
    tab.tabIndex = tab === chosen ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
  }
}

// -- leaving

addEventListener("beforeunload", (event) => {
  if (streamer.accepted < streamer.count && !["gone", "closed"].includes(streamer.state.name)) event.preventDefault();
});

find("retry").addEventListener("click", () => streamer.retry());
find("again").addEventListener("click", () => location.reload());

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

became(streamer.state);
streamer.open();
