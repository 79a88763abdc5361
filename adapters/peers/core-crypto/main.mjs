// Wire's core-crypto as a peer: MLS, or with the argument `proteus` Proteus.

import { serve } from './e2esm.mjs';

const protocol = process.argv[2] ?? 'mls';
if (!['mls', 'proteus'].includes(protocol)) throw new Error(`no protocol ${protocol}: mls or proteus`);
const { Device } = await import(`./${protocol}.mjs`);
const { description } = await import('./describe.mjs');
await serve({ description: description(protocol), Device });
