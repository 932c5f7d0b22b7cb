/**
 * Forms that go through the page's socket, and by HTTP where there is none.
 *
 *     <form method="post" action="/vote/" data-socket-call>…<p role="status" data-socket-message="Thank you."></p></form>
 *
 * A form with `data-socket-call`, or one whose button with that attribute was pressed, calls its `action` with its
 * `method` and fields through the socket, and the page stays: what the call changed comes by a push. Where the answer
 * leads to another page, to log in for example, the browser goes there; nothing else of it is shown. Where the socket is
 * not open, and where a form has files or goes to another site, the browser sends it as if the attribute was not there.
 *
 * What became of it, the form tells in an event, which bubbles: `socketanswer` with what `socket.call` answered (when
 * that is prevented, the browser goes nowhere), or `socketfailure` with its error. An element `data-socket-message` in
 * the form says it, too: its own words where the status is below 400, else what went wrong, in the words of the answer
 * where that is a plain text.
 */
import { sentence } from "../socket/connection.js";
import { say } from "../socket/language.js";

const TEXT_SHOWN = 200; // characters: more is no message for a person

/** Send the forms of `root` through `socket`. */
export function sendForms(root, socket) {
  root.addEventListener("submit", (event) => {
    const call = callOf(event);
    if (event.defaultPrevented || socket.state.name !== "open" || !call) return;
    event.preventDefault();
    make(event.target, socket, call);
  });
}

/** `[method, uri, input]` of the call that a form is to be; null: it is not to be one. */
function callOf({ target: form, submitter }) {
  if (!form.hasAttribute("data-socket-call") && !submitter?.hasAttribute("data-socket-call")) return null;
  // As attributes: fields named "action" and "method" hide the properties.
  const given = (name) => submitter?.getAttribute(`form${name}`) ?? form.getAttribute(name) ?? "";
  const method = given("method").toUpperCase() || "GET";
  const url = new URL(given("action"), document.baseURI);
  const fields = [...new FormData(form, submitter)];
  const isPlain = fields.every(([, value]) => typeof value === "string");
  if (!isPlain || url.origin !== location.origin || !["GET", "POST"].includes(method)) return null;
  return [method, url.pathname + url.search, objectOf(fields)];
}

/** Fields as an object; of a name that is there several times, a list. */
function objectOf(fields) {
  const input = Object.create(null);
  for (const [name, value] of fields) input[name] = name in input ? [input[name], value].flat() : value;
  return input;
}

function make(form, socket, call) {
  tell(form, () => "");
  socket.call(...call).then(
    (answer) => {
      tell(form, ({ dataset }) => (answer.status < 400 ? dataset.socketMessage : refusal(answer)));
      if (emit(form, "socketanswer", answer)) follow(answer);
    },
    (error) => {
      tell(form, () => error.message);
      emit(form, "socketfailure", error);
    },
  );
}

function refusal({ status, headers, body }) {
  const isText = /^text\/plain\b/i.test(headers["Content-Type"] ?? "text/plain");
  return isText && body && body.length <= TEXT_SHOWN ? sentence(body) : say("The server answered {status}.", { status });
}

/** Go where the answer leads to, unless that is here. */
function follow({ status, headers: { Location: target } }) {
  if (status < 300 || status >= 400 || !target) return;
  const url = new URL(target, location.href);
  const page = ({ href }) => href.split("#")[0];
  if (page(url) !== page(location) && /^https?:$/.test(url.protocol)) location.assign(url);
}

function tell(form, words) {
  for (const element of form.querySelectorAll("[data-socket-message]")) element.textContent = words(element);
}

/** False: somebody prevented what would be done. */
function emit(form, name, detail) {
  return form.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, cancelable: true }));
}
