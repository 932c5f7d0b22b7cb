/** Public. Hears one stream: see `socket/listener.js`. */
export { Listener } from "./socket/listener.js";
