const said = document.querySelector("[data-said]");
const form = document.querySelector("[data-say]");
const socket = new WebSocket("/ws/chat/");

socket.addEventListener("open", () => (form.dataset.chat = "open"));
socket.addEventListener("close", () => (form.dataset.chat = "closed"));
socket.addEventListener("message", ({ data }) => {
  const { who, text } = JSON.parse(data);
  const line = document.createElement("li");
  const name = document.createElement("b");
  name.textContent = who;
  line.append(name, ` ${text}`);
  said.append(line);
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  socket.send(JSON.stringify({ text: form.elements.text.value }));
  form.reset();
});
