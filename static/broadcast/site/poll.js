/**
 * Asks an address for JSON again and again while the page is visible, and at once when it becomes so.
 *
 * `onanswer(value)` gets each answer, `onfailure()` is told of each question that got none. A `token` is shown with each
 * question. One question is under way at a time; the next one follows `interval` milliseconds after the answer. Returns
 * a function that asks now.
 */
const PATIENCE = 10_000;

export function poll(url, interval, onanswer, onfailure = () => {}, token = "") {
  let timer = null;
  let asking = false;
  let again = false; // asked for while a question was under way: its answer may be too old

  async function ask() {
    clearTimeout(timer);
    if (document.visibilityState !== "visible") return;
    again = asking;
    if (asking) return;
    asking = true;
    const answer = await fetchJSON(url, token);
    asking = false;
    if (answer === null) onfailure();
    else onanswer(answer);
    timer = setTimeout(ask, again ? 0 : interval);
  }

  document.addEventListener("visibilitychange", ask);
  ask();
  return ask;
}

/** The JSON at this address; null when the server does not answer, or answers something else. */
async function fetchJSON(url, token) {
  const headers = { Accept: "application/json", ...(token && { Authorization: `Bearer ${token}` }) };
  try {
    const response = await fetch(url, { headers, signal: AbortSignal.timeout(PATIENCE) });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}
