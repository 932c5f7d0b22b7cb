/** Public. A WebSocket that comes back: see `socket/connection.js`. */
export {
  backoff,
  CLOCK,
  Connection,
  isToken,
  PROTOCOL,
  protocols,
  sentence,
  socketURL,
  unreachable,
  verdict,
} from "./socket/connection.js";
