/**
 * The first steps on the start page: lines to copy, and a form that publishes on the demo stream.
 *
 * Once this window hears the stream, it says on it that it was opened: here and in every other window something happens.
 */
import "../broadcast/element/copy.js";
import { sayServer } from "../broadcast/socket/language.js";

const form = document.querySelector("[data-say]");
if (form) begin();

function begin() {
  const [field, said] = [form.querySelector("#say"), form.querySelector("[data-said]")];
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    said.textContent = await publish(field.value);
    field.select();
  });
  const greet = () => publish(form.dataset.greeting);
  document.querySelector(".first-steps broadcast-listener").addEventListener("joined", greet, { once: true });
}

/** Publish a text; answers what went wrong, "" if nothing did. */
async function publish(text) {
  const token = form.querySelector("[name=csrfmiddlewaretoken]").value;
  const headers = { "Content-Type": "text/plain; charset=utf-8", "X-CSRFToken": token };
  try {
    const response = await fetch(form.action, { method: "POST", headers, body: text });
    return response.ok ? "" : sayServer((await response.json()).error, form.dataset.failed);
  } catch {
    return form.dataset.failed;
  }
}
