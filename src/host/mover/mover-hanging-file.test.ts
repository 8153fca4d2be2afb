/** Filling an image whose storage hangs or goes away. Its file is served over FUSE by a program that is stopped, or killed. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { MIB } from '../../domain/bytes.ts';
import type { UnderstudyError } from '../../domain/error.ts';
import { operationId, operationKey } from '../../domain/ids.ts';
import type { TransferRequest } from '../../ports/mover.ts';
import { systemClock } from '../../system/clock.ts';
import { createMover } from './mover.ts';
import { type FakeServer, startFakeServer } from './testing/fake-nbd-server.ts';
import { needsQemu } from './testing/mover-harness.ts';
import { run } from './testing/nbd-servers.ts';

const folder = mkdtempSync(join(tmpdir(), 'us-hang-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const options = { signal: new AbortController().signal };
const READ = 0;
const SMALL = 4 * MIB;
/** Enough for threads. */
const LARGE = 100 * MIB;

/** Puts a server before the file, under the same path. Null: it may not. */
async function serveFile(path: string) {
  const ready = join(folder, 'ready');
  rmSync(ready, { force: true });
  const file = { driver: 'file', filename: path, locking: 'off', 'node-name': 'file' };
  const served = { type: 'fuse', id: 'file', 'node-name': 'whole', mountpoint: path };
  const watcher = watch(folder);
  const child = spawn(
    'qemu-storage-daemon',
    [
      ...['--blockdev', JSON.stringify(file)],
      ...['--blockdev', JSON.stringify({ driver: 'raw', 'node-name': 'whole', file: 'file' })],
      ...['--export', JSON.stringify({ ...served, writable: true, growable: true })],
      ...['--pidfile', ready],
    ],
    { stdio: 'ignore' },
  );
  const exited = once(child, 'exit');
  try {
    while (!existsSync(ready)) {
      await Promise.race([once(watcher, 'change'), exited]);
      if (child.exitCode !== null) return null;
    }
  } finally {
    watcher.close();
  }
  return {
    hang: () => child.kill('SIGSTOP'),
    goOn: () => child.kill('SIGCONT'),
    goAway: () => child.kill('SIGKILL'),
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGCONT');
      child.kill('SIGTERM');
      await exited;
      // One that was killed leaves its mount.
      spawnSync('umount', ['--lazy', path], { stdio: 'ignore' });
    },
  };
}

/** How often this process has the file open. */
function descriptorsOf(path: string): number {
  return readdirSync('/proc/self/fd').filter((descriptor) => {
    try {
      return readlinkSync(join('/proc/self/fd', descriptor)) === path;
    } catch {
      return false; // That of the listing itself.
    }
  }).length;
}

describe('a file that hangs', { skip: needsQemu }, () => {
  for (const sizeBytes of [SMALL, LARGE]) {
    test(`holds nobody who gives up, and is filled later, ${sizeBytes / MIB} MiB`, async (t) => {
      const disk = randomBytes(sizeBytes);
      const imagePath = makeImage(sizeBytes);
      const sourcePath = join(folder, 'source.raw');
      writeFileSync(sourcePath, disk);
      {
        await using file = await serveFile(imagePath);
        if (file === null) return t.skip('needs the right to mount over FUSE');
        await using source = await startSource(disk, file.hang);
        const limits = { openingMs: 1000, movingMs: 1000, endingMs: 10 };
        const mover = createMover({ clock: systemClock(), limits });
        const fill = () => mover.transfer(requestOf(source, imagePath), options);
        await assert.rejects(fill(), { code: 'connection-lost' });
        // Nor is it begun again while something of the first may still be written.
        await assert.rejects(fill(), { code: 'connection-lost' });
        assert.equal(descriptorsOf(imagePath), 1);
        file.goOn();
        await fill();
        assert.equal(descriptorsOf(imagePath), 0);
      }
      run('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', sourcePath, imagePath);
      run('qemu-img', 'check', '-q', '-f', 'qcow2', imagePath);
    });

    test(`may take as long to be emptied as blocks to move, ${sizeBytes / MIB} MiB`, async (t) => {
      const imagePath = makeImage(sizeBytes);
      await using file = await serveFile(imagePath);
      if (file === null) return t.skip('needs the right to mount over FUSE');
      await using source = await startSource(randomBytes(sizeBytes), () => {});
      const mover = createMover({ clock: systemClock(), limits: { openingMs: 1 } });
      file.hang();
      let looks = 0;
      const onProgress = () => {
        looks += 1;
        // That it stood still since the last time was seen, and was too long for an opening.
        if (looks === 3) file.goOn();
      };
      await mover.transfer(requestOf(source, imagePath), { ...options, onProgress });
    });

    test(`is named when it goes away, ${sizeBytes / MIB} MiB`, async (t) => {
      const imagePath = makeImage(sizeBytes);
      await using file = await serveFile(imagePath);
      if (file === null) return t.skip('needs the right to mount over FUSE');
      await using source = await startSource(randomBytes(sizeBytes), file.goAway);
      const mover = createMover({ clock: systemClock() });
      // Then while it is opened.
      for (const _ of [1, 2]) {
        await assert.rejects(
          mover.transfer(requestOf(source, imagePath), options),
          ({ code, details }: UnderstudyError) =>
            code === 'block-transfer-failed' && details.endpoint === imagePath,
        );
      }
      assert.equal(descriptorsOf(imagePath), 0);
    });
  }
});

function makeImage(sizeBytes: number): string {
  const path = join(folder, 'image.qcow2');
  rmSync(path, { force: true });
  run('qemu-img', 'create', '-q', '-f', 'qcow2', path, String(sizeBytes));
  return path;
}

/** Something happens when half of it was read for the first time. */
function startSource(disk: Buffer, half: () => void): Promise<FakeServer> {
  return startFakeServer({
    ...{ folder, name: 's', disk },
    fault: ({ type, ordinal }) => {
      if (type === READ && ordinal === disk.length / MIB / 2) half();
      return null;
    },
  });
}

function requestOf({ endpoint: source, disk }: FakeServer, imagePath: string): TransferRequest {
  return {
    key: operationKey(operationId('op'), 'move'),
    source,
    target: { imagePath },
    sizeBytes: disk.length,
    extents: { type: 'allocated' },
    targetReads: 'zeros',
    knownHashesPath: null,
    recordsPath: join(folder, 'spool'),
    bytesPerSecondMax: null,
  };
}
