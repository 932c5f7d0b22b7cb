/** Public. The page of a room: see `room/room.js`. */
import "./room/room.js";
