/** Public. Feeds one stream: see `socket/streamer.js`. */
export { Streamer } from "./socket/streamer.js";
