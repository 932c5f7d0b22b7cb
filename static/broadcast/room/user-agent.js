/**
 * The name of this browser in the signalling protocol: "chrome", "firefox", "safari" or "unknown".
 *
 * It says who makes the first offer, and so must be what palava's clients would say. On iOS all are Safari within.
 */
export function userAgent(words = navigator.userAgent) {
  if (/CriOS|FxiOS|EdgiOS/.test(words)) return "safari";
  if (/Firefox\//.test(words)) return "firefox";
  if (/Chrom(e|ium)\//.test(words)) return "chrome";
  return /Safari\//.test(words) ? "safari" : "unknown";
}
