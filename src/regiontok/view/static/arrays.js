// Arrays as the server packs them: type, shape, and little-endian bytes in base64.

const TYPES = {
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  int32: Int32Array,
  float32: Float32Array,
};

/** The typed array of a packed one; float16 becomes float32. */
export function unpacked(packed) {
  const bytes = bytesOf(packed.data);
  if (packed.type === "float16") return halves(bytes);
  return new TYPES[packed.type](bytes.buffer);
}

/** The bytes of a base64 text. */
export function bytesOf(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

let halfTable = null;

/** Numbers of 16 bits as float32, by a table of all there are. */
export function halves(bytes) {
  halfTable ??= allHalves();
  const codes = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
  const numbers = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++) numbers[i] = halfTable[codes[i]];
  return numbers;
}

function allHalves() {
  const table = new Float32Array(65536);
  for (let code = 0; code < 65536; code++) {
    const sign = code & 0x8000 ? -1 : 1;
    const exponent = (code >> 10) & 31;
    const fraction = code & 1023;
    if (exponent === 0) table[code] = sign * fraction * 2 ** -24;
    else if (exponent === 31) table[code] = fraction ? NaN : sign * Infinity;
    else table[code] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return table;
}
