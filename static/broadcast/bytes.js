/** Two arrays of bytes as one; where one is empty, the other one itself. */
export function join(first, second) {
  if (first.length === 0) return second;
  if (second.length === 0) return first;
  const joined = new Uint8Array(first.length + second.length);
  joined.set(first);
  joined.set(second, first.length);
  return joined;
}
