/**
 * Forms that go through the page's socket, and by HTTP where there is none.
 *
 *     <form method="post" action="/vote/" data-socket-call>…<p role="status" data-socket-message="Thank you."></p></form>
 *
 * A form with `data-socket-call`, or one whose button with that attribute was pressed, calls its `action` with its
 * `method` and fields through the socket, and the page stays. The answer, a redirect too, is not shown: what it changed
 * comes by a push. Where the socket is not open, and where a form has files or goes to another site, the browser sends
 * it as if the attribute was not there.
 *
 * What became of it, the form tells in an event, which bubbles: `socketanswer` with what `socket.call` answered, or
 * `socketfailure` with its error. An element `data-socket-message` in the form says it, too: its own words when it went
 * well, else what went wrong.
 */

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

async function make(form, socket, call) {
  say(form, () => "");
  try {
    const answer = await socket.call(...call);
    say(form, (element) => (answer.status < 400 ? element.dataset.socketMessage : `The server answered ${answer.status}.`));
    emit(form, "socketanswer", answer);
  } catch (error) {
    say(form, () => error.message);
    emit(form, "socketfailure", error);
  }
}

function say(form, words) {
  for (const element of form.querySelectorAll("[data-socket-message]")) element.textContent = words(element);
}

function emit(form, name, detail) {
  form.dispatchEvent(new CustomEvent(name, { detail, bubbles: true }));
}
