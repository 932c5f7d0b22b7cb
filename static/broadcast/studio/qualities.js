/**
 * Qualities of a broadcast: named sizes, with the bit rate that they take.
 *
 * `width` and `height` in pixels, `frameRate` per second, `video` and `audio` in bits per second.
 */
import { number, say, text } from "../socket/language.js";

export const QUALITIES = new Map([
  ["low", { name: text("Low"), width: 640, height: 360, frameRate: 24, video: 600_000, audio: 64_000 }],
  ["medium", { name: text("Medium"), width: 960, height: 540, frameRate: 30, video: 1_200_000, audio: 96_000 }],
  ["high", { name: text("High"), width: 1280, height: 720, frameRate: 30, video: 2_500_000, audio: 128_000 }],
  ["full", { name: text("Full HD"), width: 1920, height: 1080, frameRate: 30, video: 4_500_000, audio: 128_000 }],
]);

/** "Medium: 960 × 540, 30 frames/s, 1.3 Mbit/s" */
export function qualityWords({ name, width, height, frameRate, video, audio }) {
  const values = { name: say(name), width, height, frameRate, rate: rate(video + audio) };
  return say("{name}: {width} × {height}, {frameRate} frames/s, {rate}", values);
}

/** Bits per second: "820 kbit/s", "1.3 Mbit/s". */
export function rate(bits) {
  if (bits < 1_000_000) return `${Math.round(bits / 1000)} kbit/s`;
  return `${number(bits / 1_000_000, { minimumFractionDigits: 1, maximumFractionDigits: 1 })} Mbit/s`;
}
