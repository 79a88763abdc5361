// A prekey bundle as bytes. libsignal leaves that format to the application (Signal's service uses JSON of its own); here
// it is the protobuf of `adapters/libsignal`.

import { KEMPublicKey, PreKeyBundle, PublicKey } from '@signalapp/libsignal-client';
import { Refusal } from './e2esm.mjs';
import { read } from './errors.mjs';
import { bytesOf, decode, encode, numberOf } from './protobuf.mjs';

/** `{registrationId, deviceId, identityKey, preKey, signedPreKey, kyberPreKey}`; each prekey `{id, public, signature}`. */
export function toBytes({ registrationId, deviceId, identityKey, preKey, signedPreKey, kyberPreKey }) {
  // What is 0 or empty is left out, as the format has it; so is a prekey that is not there.
  const written = (fields) => encode(fields.filter(([, value]) => value && value.length !== 0));
  const key = (prekey) => prekey && written([[1, prekey.id], [2, prekey.public], [3, prekey.signature]]);
  return written([
    [1, registrationId], [2, deviceId], [3, identityKey], [4, key(preKey)], [5, key(signedPreKey)], [6, key(kyberPreKey)],
  ]);
}

/** @throws Refusal `bad_request` for bytes that are no bundle. */
export function fromBytes(bytes) {
  const fields = decode(bytes);
  const key = (number) => {
    const given = bytesOf(fields, number, null);
    if (!given) return null;
    const key = decode(given);
    return { id: numberOf(key, 1), public: bytesOf(key, 2), signature: bytesOf(key, 3) };
  };
  return {
    registrationId: numberOf(fields, 1),
    deviceId: numberOf(fields, 2),
    identityKey: bytesOf(fields, 3),
    preKey: key(4),
    signedPreKey: key(5),
    kyberPreKey: key(6),
  };
}

/** The identity key that a bundle shows, serialised: a look, no check. */
export function identityOf(bundle) {
  return read(() => PublicKey.deserialize(bundle.identityKey)).serialize();
}

/** The library's own object. Nothing is checked here but that the keys can be read. */
export function toLibrary({ registrationId, deviceId, identityKey, preKey, signedPreKey, kyberPreKey }) {
  if (!signedPreKey) throw new Refusal('bad_request', 'a bundle without a signed prekey');
  if (!kyberPreKey) throw new Refusal('bad_request', 'a bundle without a Kyber prekey');
  return read(() => PreKeyBundle.new(
    registrationId,
    deviceId,
    preKey?.id ?? null,
    preKey ? PublicKey.deserialize(preKey.public) : null,
    signedPreKey.id,
    PublicKey.deserialize(signedPreKey.public),
    signedPreKey.signature,
    PublicKey.deserialize(identityKey),
    kyberPreKey.id,
    KEMPublicKey.deserialize(kyberPreKey.public),
    kyberPreKey.signature,
  ));
}
