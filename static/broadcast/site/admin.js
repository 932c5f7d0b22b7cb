/**
 * The pages of streams and rooms in the admin, kept up to date in place by a socket of theirs: see `figures.py` and
 * `room_figures.py`.
 *
 * `[data-socket]` says where the socket is, and tells whether what is shown is current. What moves is found by
 * `[data-figure]` (of the stream in `data-stream`), `[data-publications]` and `[data-connections]`.
 */
import { Connection, socketURL } from "../socket/connection.js";
import { locale, say, sayCount, sayServer, text } from "../socket/language.js";

const status = document.querySelector("[data-socket]");
const publications = document.querySelector("[data-publications]");
const connections = document.querySelector("[data-connections]");
const rows = new Map(); // of connections, by their ids

const TIME = new Intl.DateTimeFormat(locale([]), { timeStyle: "short" });
const DAY = new Intl.DateTimeFormat(locale([]), { dateStyle: "short", timeStyle: "short" });
const CLOCK = new Intl.DateTimeFormat(locale([]), { timeStyle: "medium" });
const NUMBER = new Intl.NumberFormat(locale([]), { maximumFractionDigits: 1 });

/** The grant of a connection; in a room, where all have the same, the program that it uses. */
const DOES = {
  listen: ({ way }) => say("listens ({way})", { way }),
  publish: ({ way }) => say("publishes ({way})", { way }),
};

const TYPES = { text: text("text"), json: text("JSON"), binary: text("binary") };
const LIVE = { live: text("live"), idle: text("idle"), "": text("unknown") };

const SHOW = {
  figures: ({ streams, now }) => {
    for (const element of document.querySelectorAll("[data-figure]")) {
      showFigure(element, streams[element.dataset.stream], now);
    }
  },
  publications: (said) => showPublications(said.publications),
  connections: (said) => showConnections(said.connections),
  unavailable: () => tell(say("The server cannot look at the streams just now. These figures may be old."), "old"),
  error: ({ message }) => tell(sayServer(message, "The server cannot show these figures."), "old"),
};

if (status) start();
for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", copy);

function start() {
  const connection = new Connection(() => socketURL(status.dataset.socket));
  connection.addEventListener("state", ({ detail }) => {
    if (detail.name === "reconnecting") tell(`${detail.reason} ${say("These figures may be old.")}`, "old");
    if (detail.name === "gone") tell(`${detail.reason} ${say("These figures move no more.")}`, "old");
  });
  connection.addEventListener("message", ({ detail }) => {
    const said = JSON.parse(detail);
    if (said.event === "figures") tell(say("These figures move by themselves."), "current");
    SHOW[said.event]?.(said);
  });
  connection.open();
}

function tell(text, state) {
  // Said again, a screen reader would read it each second.
  if (status.textContent !== text) status.textContent = text;
  status.dataset.state = state;
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function showFigure(element, figures, now) {
  const name = element.dataset.figure;
  const value = figures?.[name];
  if (name === "live") {
    element.dataset.state = value === undefined ? "" : value ? "live" : "idle";
    set(element, say(LIVE[element.dataset.state]));
  } else if (value === undefined || value === null) {
    set(element, "–");
  } else if (name === "since") {
    set(element, `${(now - value < 80_000 ? TIME : DAY).format(new Date(value * 1000))} (${duration(now - value)})`);
  } else {
    set(element, NUMBER.format(value));
  }
}

/** Seconds, as a person says them. */
function duration(seconds) {
  if (seconds < 60) return say("{seconds} s", { seconds: Math.max(0, Math.round(seconds)) });
  if (seconds < 3600) return say("{minutes} min", { minutes: Math.floor(seconds / 60) });
  if (seconds < 86400) {
    return say("{hours} h {minutes} min", { hours: Math.floor(seconds / 3600), minutes: Math.floor((seconds % 3600) / 60) });
  }
  return say("{days} d", { days: Math.floor(seconds / 86400) });
}

function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  const units = ["KiB", "MiB"];
  const unit = bytes < 1024 ** 2 ? 0 : 1;
  return `${NUMBER.format(bytes / 1024 ** (unit + 1))} ${units[unit]}`;
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function showPublications(found) {
  const items = found.map((one) => {
    const item = element("li", "");
    item.append(element("span", `${NUMBER.format(one.offset)}`, { class: "broadcast-offset" }));
    item.append(element("time", CLOCK.format(new Date(one.time * 1000)), { class: "broadcast-kind" }));
    item.append(element("span", `${say(TYPES[one.type] ?? one.type)}, ${size(one.bytes)}`, { class: "broadcast-kind" }));
    if (one.text !== undefined) item.append(element("code", one.text));
    return item;
  });
  publications.replaceChildren(...(items.length ? items : [element("li", say("Nothing yet."))]));
}

function showConnections(found) {
  const now = Date.now() / 1000;
  const ids = new Set(found.map((one) => one.id));
  for (const [id, row] of rows) {
    if (!ids.has(id)) {
      row.remove();
      rows.delete(id);
    }
  }
  for (const one of found) {
    // A member may change its name.
    if (rows.has(one.id) && rows.get(one.id).dataset.name !== (one.name ?? "")) {
      rows.get(one.id).remove();
      rows.delete(one.id);
    }
    if (!rows.has(one.id)) rows.set(one.id, rowOf(one));
    const cells = rows.get(one.id).cells;
    set(cells[3], one.behind ? sayCount(one.behind, "{count} publications", "{count} publications") : say("no"));
    set(cells[4], duration(now - one.since));
  }
  // A person about to press a button there must not press another one.
  if (!connections.contains(document.activeElement) && !connections.matches(":hover")) {
    connections.append(...found.map((one) => rows.get(one.id)));
  }
  const more = document.querySelector("[data-more]");
  more.hidden = found.length > 0;
  more.textContent = say("Nobody.");
}

function rowOf(one) {
  const row = element("tr", "", { "data-name": one.name ?? "" });
  const who = one.name || one.user || (one.token ? say("somebody with a token") : say("somebody"));
  row.append(element("th", who, { scope: "row" }));
  row.append(element("td", one.address || say("unknown")));
  row.append(element("td", DOES[one.deed]?.(one) ?? (one.agent || say("unknown"))));
  row.append(element("td", ""), element("td", ""), element("td", ""));
  if (connections.dataset.remove) {
    const button = element("button", say("Remove"), { type: "button", class: "button", "aria-label": say("Remove {who}", { who }) });
    button.addEventListener("click", () => remove(button, one.id));
    row.lastChild.append(button);
  }
  connections.append(row);
  return row;
}

async function remove(button, id) {
  const question = connections.dataset.ask;
  if (question && !confirm(`${button.getAttribute("aria-label")}? ${question}`)) return;
  button.disabled = true;
  const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
  const body = new URLSearchParams({ connection: id });
  try {
    const answer = await fetch(connections.dataset.remove, {
      method: "POST",
      headers: { "X-CSRFToken": token },
      body,
    });
    set(button, answer.ok ? say("Removed") : say("Refused"));
  } catch {
    button.disabled = false;
    tell(say("The server does not answer. Try again."), "old");
  }
}

async function copy({ target }) {
  try {
    await navigator.clipboard.writeText(target.dataset.copy);
    set(target, say("Copied"));
  } catch {
    target.previousElementSibling.select(); // to be copied by hand
  }
}
