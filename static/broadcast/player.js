/** Public. Plays the recording of a media stream in a `<video>`: see `video/player.js`. */
export { Player } from "./video/player.js";
