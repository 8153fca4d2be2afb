/** The simulated mover against the suite that every mover must pass. */
import type { DiskSpec, Fills, MoverHarness } from '../conformance/mover/harness.ts';
import { moverSuite } from '../conformance/mover.ts';
import { blockCount } from '../domain/bytes.ts';
import { recordsAt } from './files.ts';
import type { SimulatedHost } from './host.ts';
import { createImage, type Image, readBlock, writeBlock } from './image.ts';
import { serveImage } from './partial-point.ts';
import { createTwoHosts } from './two-hosts.ts';

const MARK = 'mark';

moverSuite('the simulated mover', async (): Promise<MoverHarness> => {
  const { world, production, recovery } = createTwoHosts();
  const { files, endpoints } = world;
  let serial = 0;
  const newPath = () => {
    serial += 1;
    return `/recovery/conformance-${serial}`;
  };
  return {
    mover: world.connect().mover,
    async serve(spec) {
      const host = spec.isWritable === true ? recovery : production;
      const image = imageOf(newPath(), spec, host);
      const changed = (context: string) =>
        context === MARK && spec.changed !== undefined ? spec.changed : null;
      const at = { around: world, host };
      const endpoint = serveImage(at, image.path, image, spec.isWritable === true, changed);
      return {
        endpoint,
        metaContext: MARK,
        read: async () =>
          Array.from({ length: blockCount(spec.sizeBytes) }, (_, at) =>
            Number(readBlock(image, at)),
          ),
        [Symbol.asyncDispose]: async () => endpoints.close(endpoint),
      };
    },
    nobody: () => ({ address: { type: 'unix', path: 'sim:recovery/gone/0' }, exportName: 'disk' }),
    async hashTable(_sizeBytes, blocks) {
      const path = newPath();
      files.set(path, { type: 'records', records: new Map(entriesOf(blocks)) });
      return path;
    },
    newPath,
    records: async (path) => [...recordsAt(files, path)].map(([at, token]) => [at, Number(token)]),
    settled: (call) => world.clock.run(call),
    [Symbol.asyncDispose]: async () => {},
  };
});

function imageOf(path: string, spec: DiskSpec, host: SimulatedHost): Image {
  const { sizeBytes, blocks = {}, parent } = spec;
  const room = spec.isFull === true ? { path, capacityBytes: 0, usedBytes: 0 } : host.storage;
  const layer = (fills: Fills, backing: Image | null) => {
    const image = createImage({ path, format: 'qcow2', sizeBytes, backing, room });
    for (const [index, fill] of entriesOf(fills)) writeBlock(image, index, fill);
    return image;
  };
  return layer(blocks, parent === undefined ? null : layer(parent, null));
}

function entriesOf(fills: Fills): readonly (readonly [number, number])[] {
  return Object.entries(fills).map(([index, fill]) => [Number(index), fill]);
}
