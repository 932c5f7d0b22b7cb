/**
 * Qualities of a broadcast: named sizes, with the bit rate that they take.
 *
 * `width` and `height` in pixels, `frameRate` per second, `video` and `audio` in bits per second.
 */
export const QUALITIES = new Map([
  ["low", { name: "Low", width: 640, height: 360, frameRate: 24, video: 600_000, audio: 64_000 }],
  ["medium", { name: "Medium", width: 960, height: 540, frameRate: 30, video: 1_200_000, audio: 96_000 }],
  ["high", { name: "High", width: 1280, height: 720, frameRate: 30, video: 2_500_000, audio: 128_000 }],
  ["full", { name: "Full HD", width: 1920, height: 1080, frameRate: 30, video: 4_500_000, audio: 128_000 }],
]);

/** "Medium: 960 × 540, 30 frames/s, 1.3 Mbit/s" */
export function qualityWords({ name, width, height, frameRate, video, audio }) {
  return `${name}: ${width} × ${height}, ${frameRate} frames/s, ${rate(video + audio)}`;
}

/** Bits per second: "820 kbit/s", "1.3 Mbit/s". */
export function rate(bits) {
  return bits < 1_000_000 ? `${Math.round(bits / 1000)} kbit/s` : `${(bits / 1_000_000).toFixed(1)} Mbit/s`;
}
