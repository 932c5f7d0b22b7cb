/** The text chat of a room: what was said since this page is there, and a field to say something. */
import { locale, say } from "../socket/language.js";

const SHOWN = 500;
const LONGEST = 2000; // characters of what is shown

export class Chat {
  #panel;
  #list;
  #input;
  #button;
  #unread = 0;

  /**
   * `panel` is the `<aside>` with everything, `button` shows and hides it; `send(text)` says whether it went out.
   * A message comes in through `add`, one's own too.
   */
  constructor(panel, button, send) {
    this.#panel = panel;
    this.#button = button;
    this.#list = this.#find("messages");
    this.#input = this.#find("message-input");
    button.addEventListener("click", () => this.toggle(panel.hidden));
    this.#find("close-chat").addEventListener("click", () => this.toggle(false));
    panel.addEventListener("keydown", ({ key }) => key === "Escape" && this.toggle(false));
    this.#find("message-form").addEventListener("submit", (event) => this.#submit(event, send));
    this.#showUnread();
  }

  /** Show what somebody said. It is text, whatever stands in it. */
  add(name, text, isOwn = false) {
    const item = this.#find("message-template").content.firstElementChild.cloneNode(true);
    item.dataset.own = isOwn;
    item.querySelector("[data-from]").textContent = name;
    item.querySelector("[data-text]").textContent = text.slice(0, LONGEST);
    item.querySelector("time").textContent = new Date().toLocaleTimeString(locale([]), { hour: "2-digit", minute: "2-digit" });
    const isAtEnd = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 40;
    this.#list.append(item);
    if (this.#list.childElementCount > SHOWN) this.#list.firstElementChild.remove();
    if (isAtEnd || isOwn) this.#list.scrollTop = this.#list.scrollHeight;
    this.#find("no-messages").hidden = true;
    if (this.#panel.hidden && !isOwn) this.#unread += 1;
    this.#showUnread();
  }

  toggle(shown) {
    this.#panel.hidden = !shown;
    this.#button.setAttribute("aria-expanded", shown);
    if (shown) {
      this.#unread = 0;
      this.#list.scrollTop = this.#list.scrollHeight;
      this.#input.focus();
    } else {
      this.#button.focus();
    }
    this.#showUnread();
  }

  clear() {
    this.#list.replaceChildren();
    this.#find("no-messages").hidden = false;
    this.#find("chat-hint").textContent = "";
    this.#panel.hidden = true;
    this.#button.setAttribute("aria-expanded", false);
    this.#unread = 0;
    this.#showUnread();
  }

  #submit(event, send) {
    event.preventDefault();
    const text = this.#input.value.trim();
    if (text === "") return;
    const went = send(text);
    this.#find("chat-hint").textContent = went ? "" : say("Not sent: the room is not connected. Try again in a moment.");
    if (went) this.#input.value = "";
  }

  #showUnread() {
    const badge = this.#button.querySelector("[data-unread]");
    badge.hidden = this.#unread === 0;
    badge.querySelector("[data-number]").textContent = this.#unread > 99 ? "99+" : this.#unread;
  }

  #find(name) {
    return this.#panel.querySelector(`[data-${name}]`);
  }
}
