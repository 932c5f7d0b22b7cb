/**
 * Buttons that copy what stands in a field: `<button data-copy="id of the field" hidden>`.
 *
 * They show themselves; without scripts the field can be selected by hand. Where the browser keeps the clipboard to
 * itself, as on pages that came without TLS, the field is selected and the person is told what to press.
 */
import { say } from "../socket/language.js";

/** How long it says that something was copied: milliseconds. What to press stays until the next copy. */
const SHOWN = 4000;

const told = document.querySelector("[data-copied]");
let later = 0;

for (const button of document.querySelectorAll("[data-copy]")) {
  const field = document.getElementById(button.dataset.copy);
  button.hidden = false;
  button.addEventListener("click", async () => {
    const copied = await copy(field.value);
    if (!copied) field.select();
    told.textContent = copied ? say("Copied.") : say("Selected: press Ctrl+C, or ⌘C, to copy it.");
    clearTimeout(later);
    if (copied) later = setTimeout(() => (told.textContent = ""), SHOWN);
  });
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
