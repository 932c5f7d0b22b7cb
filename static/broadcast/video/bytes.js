/** Arrays of bytes as one; where only one has any, that one itself. */
export function join(...arrays) {
  const some = arrays.filter(({ length }) => length > 0);
  if (some.length < 2) return some[0] ?? new Uint8Array();
  const joined = new Uint8Array(some.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const array of some) {
    joined.set(array, at);
    at += array.length;
  }
  return joined;
}
