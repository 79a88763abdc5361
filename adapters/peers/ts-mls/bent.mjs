// An insider's cryptography: the cipher suite that the library is given, with one operation that answers wrongly. Everything
// downstream is the library's, and consistent with the wrong answer. Which operation is meant shows in its input.

/** The length of a hash of cipher suite 0x0001. */
const HASH = 32;

/** SignContent (RFC 9420, section 5.1.2) begins with the label: a length of one byte, then the label. */
function labelled(message, label) {
  return Buffer.from(message.subarray(1, 1 + label.length)).toString('latin1') === label;
}

/**
 * ParentHashInput (RFC 9420, section 7.9): a key, a hash or nothing, a hash, each with its length. No other input to the hash
 * has this shape: a TreeHashInput begins with a node type, the others are longer or bear a bare hash.
 */
function isParentHashInput(data) {
  const rest = data.subarray(1 + HASH);
  const sibling = rest.subarray(1 + (rest[0] === HASH ? HASH : 0));
  return data[0] === HASH && (rest[0] === 0 || rest[0] === HASH) && sibling[0] === HASH && sibling.length === 1 + HASH;
}

function flipped(bytes) {
  const copy = bytes.slice();
  copy[0] ^= 1;
  return copy;
}

const BENT = {
  /** Leaves are signed with a key that nobody knows. */
  wrong_leaf_signature: (cs) => ({
    ...cs,
    signature: {
      ...cs.signature,
      async sign(key, message) {
        const other = labelled(message, 'MLS 1.0 LeafNodeTBS') ? (await cs.signature.keygen()).signKey : key;
        return cs.signature.sign(other, message);
      },
    },
  }),
  /** Parent hashes have a bit flipped. */
  wrong_parent_hash: (cs) => ({
    ...cs,
    hash: {
      ...cs.hash,
      async digest(data) {
        const hash = await cs.hash.digest(data);
        return isParentHashInput(data) ? flipped(hash) : hash;
      },
    },
  }),
  /** Confirmation tags have a bit flipped: they are over a hash alone, a membership tag is over a whole message. */
  wrong_confirmation_tag: (cs) => ({
    ...cs,
    hash: {
      ...cs.hash,
      async mac(key, data) {
        const tag = await cs.hash.mac(key, data);
        return data.length === HASH ? flipped(tag) : tag;
      },
    },
  }),
};

/** The cipher suite of a device with this fault, for its commits. */
export const bent = (cs, fault) => BENT[fault]?.(cs) ?? cs;
