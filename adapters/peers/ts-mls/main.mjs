// ts-mls behind the suite's stdio protocol, with the argument `mixed` for groups in which members have other implementations.
// README.md says what it does and what it leaves out.

import { serve } from './e2esm.mjs';
import { Device, MixedDevice } from './device.mjs';
import { descriptions } from './description.mjs';

const [configuration = 'usual'] = process.argv.slice(2);
if (!Object.hasOwn(descriptions, configuration)) throw new Error(`no configuration ${configuration}: mixed, or nothing`);

// A question that waits for its answer is an exception, and one call can have several at a time. The first is the call's; Node
// would end the process for the others, which nobody waits for.
process.on('unhandledRejection', (error) => console.error('nobody waited for this:', error?.message ?? error));

/** Recorded vectors are played in processes of their own: their code is loaded there only. */
const Passive = {
  create: async (start) => (await import('./passive.mjs')).Passive.create(start),
};

await serve({
  description: descriptions[configuration],
  Device: configuration === 'mixed' ? MixedDevice : Device,
  Passive,
});
