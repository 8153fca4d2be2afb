import { writeFileSync } from 'node:fs';
import { statesDocument } from '../domain/replica/states-document.ts';

writeFileSync(new URL('../../docs/states.md', import.meta.url), statesDocument());
