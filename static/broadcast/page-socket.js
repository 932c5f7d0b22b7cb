/** Public. The socket of a page: see `page/socket.js`. */
export { CallError, default, PageSocket, socket } from "./page/socket.js";
