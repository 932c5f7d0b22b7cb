/** Public. The element `<broadcast-listener>`: see `element/element.js`. */
export { BroadcastListener } from "./element/element.js";
