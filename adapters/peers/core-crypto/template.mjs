// Part of the installation: lets the library make an empty database, and keeps it for every start of the adapter.

import { writeFileSync } from 'node:fs';
import { Library } from './library.mjs';

const library = await Library.start();
const { name, key } = await library.empty();
const blocks = await library.blocks(name);
writeFileSync(new URL('./template.json', import.meta.url), JSON.stringify({ key: key.toString('hex'), blocks }));
process.exit(0);
