// Protocol Buffers on the wire: a message as a list of fields, each `[number, value]` with a number for a varint and a
// Uint8Array for anything else. Enough for a prekey bundle, and for taking apart the library's own records and messages
// where it has no accessor for them. A field of a fixed width is kept as it is.

import { Refusal } from './e2esm.mjs';

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

/** Eight or four bytes that were no length-delimited field. */
class Fixed extends Uint8Array {}

/** @throws Refusal `bad_request` for bytes that are no message. */
export function decode(bytes) {
  const fields = [];
  let at = 0;
  const malformed = () => new Refusal('bad_request', 'malformed protobuf');
  const take = (length) => {
    if (length > bytes.length - at) throw malformed();
    at += length;
    return bytes.slice(at - length, at);
  };
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const [byte] = take(1);
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) {
        // What does not fit is a length or a number that nothing here has.
        if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed();
        return Number(value);
      }
    }
    throw malformed();
  };
  while (at < bytes.length) {
    const key = varint();
    const number = Math.floor(key / 8);
    if (number === 0) throw malformed();
    switch (key % 8) {
      case VARINT:
        fields.push([number, varint()]);
        break;
      case FIXED64:
        fields.push([number, Fixed.from(take(8))]);
        break;
      case BYTES:
        fields.push([number, take(varint())]);
        break;
      case FIXED32:
        fields.push([number, Fixed.from(take(4))]);
        break;
      default:
        throw malformed();
    }
  }
  return fields;
}

export function encode(fields) {
  const parts = [];
  const varint = (value) => {
    const bytes = [];
    for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
    parts.push(Uint8Array.from([...bytes, value]));
  };
  for (const [number, value] of fields) {
    if (typeof value === 'number') {
      varint(number * 8 + VARINT);
      varint(value);
    } else if (value instanceof Fixed) {
      varint(number * 8 + (value.length === 8 ? FIXED64 : FIXED32));
      parts.push(value);
    } else {
      varint(number * 8 + BYTES);
      varint(value.length);
      parts.push(value);
    }
  }
  return new Uint8Array(Buffer.concat(parts));
}

/** Eight zero bytes in a field of fixed width. */
export const zeroFixed64 = () => new Fixed(8);

/** The last field of this number that holds bytes, as the format has it; `fallback` if there is none. */
export function bytesOf(fields, number, fallback = new Uint8Array()) {
  const found = fields.findLast(([other]) => other === number)?.[1];
  if (found === undefined) return fallback;
  if (!(found instanceof Uint8Array) || found instanceof Fixed) throw new Refusal('bad_request', 'malformed protobuf');
  return found;
}

/** The same for a 32-bit number. */
export function numberOf(fields, number) {
  const found = fields.findLast(([other]) => other === number)?.[1] ?? 0;
  if (typeof found !== 'number') throw new Refusal('bad_request', 'malformed protobuf');
  return found % 2 ** 32;
}

/** The fields with those of this number replaced by one of this value, in the first one's place. */
export function replaced(fields, number, value) {
  const at = fields.findIndex(([other]) => other === number);
  if (at < 0) throw new Refusal('bad_request', `a message without a field ${number}`);
  return fields.flatMap((field, index) => {
    if (index === at) return [[number, value]];
    return field[0] === number ? [] : [field];
  });
}
