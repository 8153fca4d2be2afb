/** The mover against the suite that every mover must pass, with both of QEMU's servers. */
import { moverSuite } from '../../conformance/mover.ts';
import { createMoverHarness, needsQemu } from './testing/mover-harness.ts';
import { serveWithQemuNbd, serveWithStorageDaemon } from './testing/nbd-servers.ts';

for (const serve of [serveWithQemuNbd, serveWithStorageDaemon]) {
  moverSuite(serve.name, () => createMoverHarness(serve), { skip: needsQemu });
}
