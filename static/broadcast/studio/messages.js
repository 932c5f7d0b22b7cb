/**
 * The messages of the studio: a person sends text, JSON and files, and sees in a list what became of each.
 */
import { bytes } from "../socket/states.js";
import { say, text } from "../socket/language.js";

const SENT_SHOWN = 100;
const EXCERPT = 200;

export class MessageStudio {
  #page;
  #streamer;
  #told;
  #sent = []; // what the list of sent things shows, newest first: {number, element, fate}
  #cancel = null; // aborts the file that is being sent
  #tabs;

  /** `told.tell(words)` says something to the person, `told.figures()` that there is something to be counted. */
  constructor(page, streamer, told) {
    this.#page = page;
    this.#streamer = streamer;
    this.#told = told;
    this.#tabs = [...page.querySelectorAll('[role="tab"]')];
    this.#wire();
    this.#tabs.forEach((tab, i) => this.#wireTab(tab, i));
  }

  /** Show the outcome of sending. */
  showFates() {
    for (const item of this.#sent) this.#showFate(item);
  }

  /** While video is broadcast, nothing else is sent. */
  set disabled(disabled) {
    for (const tab of this.#tabs) tab.disabled = disabled && tab.id !== "video-tab";
  }

  #wire() {
    this.#find("text-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#sendText();
    });
    this.#find("json").addEventListener("input", () => this.#checkJSON());
    this.#find("json-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#sendJSON();
    });
    this.#find("file-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const [file] = this.#find("file").files;
      if (file && !this.#cancel) this.#sendFile(file);
      else if (!file) this.#told.tell(say("Choose a file first."));
    });
    this.#find("cancel").addEventListener("click", () => this.#cancel?.abort());
    this.#page.addEventListener("keydown", sendByKey);
  }

  /** Publish, and show it in the list; false when it could not be. */
  async #publish(kind, excerpt, send) {
    this.#told.tell("");
    const before = this.#streamer.count;
    const sending = send();
    // A send that was refused has no number.
    const item = this.#streamer.count > before ? this.#listSent(this.#streamer.count, kind, excerpt) : null;
    this.#told.figures();
    try {
      await sending;
      return true;
    } catch (error) {
      if (item) item.fate = text("Failed");
      this.#told.figures();
      this.#told.tell(refusal(error));
      return false;
    }
  }

  #listSent(number, kind, excerpt) {
    const element = this.#find("sent-template").content.firstElementChild.cloneNode(true);
    setText(element.querySelector("[data-kind]"), kind);
    setText(element.querySelector("[data-excerpt]"), excerpt.slice(0, EXCERPT));
    const item = { number, element };
    this.#sent.unshift(item);
    this.#find("sent").prepend(element);
    for (const old of this.#sent.splice(SENT_SHOWN)) old.element.remove();
    this.#find("nothing-sent").hidden = true;
    this.#showFate(item);
    return item;
  }

  #showFate({ number, element, fate }) {
    const accepted = number <= this.#streamer.accepted;
    element.dataset.fate = fate ?? (accepted ? text("Accepted") : text("On its way"));
    setText(element.querySelector("[data-words]"), say(element.dataset.fate));
  }

  async #sendText() {
    const input = this.#find("text");
    const text = input.value;
    if (text === "") return this.#told.tell(say("Write something first."));
    input.value = "";
    input.focus();
    const isSent = await this.#publish(say("Text"), text, () => this.#streamer.send(text));
    if (!isSent && input.value === "") input.value = text;
  }

  async #sendJSON() {
    const { value, valid } = this.#checkJSON();
    if (!valid) return this.#find("json").focus();
    await this.#publish("JSON", JSON.stringify(value), () => this.#streamer.sendJSON(value));
  }

  /** `{valid, value}` of what stands in the JSON field, told below it. */
  #checkJSON() {
    const input = this.#find("json");
    const hint = this.#find("json-hint");
    try {
      const value = JSON.parse(input.value);
      input.removeAttribute("aria-invalid");
      setText(hint, typeof value === "string" ? say("Valid. A string is published as text.") : say("Valid JSON."));
      return { valid: true, value };
    } catch (error) {
      input.setAttribute("aria-invalid", "true");
      setText(hint, input.value.trim() === "" ? say("Write some JSON first.") : say("Not valid: {error}", { error: error.message }));
      return { valid: false };
    }
  }

  async #sendFile(file) {
    const { name, size } = file;
    const item = this.#listSent(Infinity, say("File"), `${name}, ${bytes(size)}`);
    this.#cancel = new AbortController();
    this.#find("file-going").hidden = false;
    this.#showProgress({ accepted: 0, total: size });
    try {
      await this.#sendChunks(file, this.#cancel.signal);
      item.number = this.#streamer.accepted;
      this.#told.tell(say("{name} was sent: {size}.", { name, size: bytes(size) }));
    } catch (error) {
      item.fate = error.name === "AbortError" ? text("Cancelled") : text("Failed");
      this.#told.tell(item.fate === "Cancelled" ? say("{name} was cancelled. What was sent stays.", { name }) : refusal(error));
    }
    this.#cancel = null;
    this.#find("file-going").hidden = true;
    this.#told.figures();
  }

  #sendChunks(file, signal) {
    const { name, size, type } = file;
    // The announcement is not waited for: it stands before the first chunk, and cancelling must not wait either.
    const announced = this.#find("announce").checked ? this.#streamer.sendJSON({ file: { name, size, type } }) : null;
    const onprogress = (progress) => this.#showProgress(progress);
    return Promise.all([announced, this.#streamer.sendFile(file, { onprogress, signal })]);
  }

  #showProgress({ accepted, total }) {
    this.#find("progress").max = Math.max(total, 1);
    this.#find("progress").value = total === 0 ? 1 : accepted;
    setText(this.#find("progress-words"), say("{received} of {total}", { received: bytes(accepted), total: bytes(total) }));
    this.#told.figures();
  }

  // -- the way of sending: tabs, with arrow keys

  #wireTab(tab, i) {
    tab.addEventListener("click", () => this.#choose(tab));
    tab.addEventListener("keydown", ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      const next = this.#tabs.at((i + step) % this.#tabs.length);
      if (!step || next.disabled) return;
      this.#choose(next);
      next.focus();
    });
  }

  #choose(chosen) {
    for (const tab of this.#tabs) {
      tab.setAttribute("aria-selected", tab === chosen);
      tab.tabIndex = tab === chosen ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
    }
  }

  #find(name) {
    return this.#page.querySelector(`[data-${name}]`);
  }
}

/** Ctrl+Enter, or Cmd+Enter, sends from any field. */
function sendByKey(event) {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || !event.target.form) return;
  event.preventDefault();
  event.target.form.requestSubmit();
}

function refusal(error) {
  return say("Not sent: {error}", { error: error.message });
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
