import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { GIB, MIB } from '../bytes.ts';
import {
  LOOK_MS_MAX,
  lookAgainMs,
  reserveBytes,
  roomFinding,
  type StorageRoom,
  tooLittleRoom,
  whyNoRoom,
} from './storage-room.ts';

const host = { name: 'recovery', storageFolder: '/srv/u', storageReserveBytes: null };
const gib = (free: number, size = 100): StorageRoom => ({
  freeBytes: free * GIB,
  sizeBytes: size * GIB,
});

test('the reserve is a twentieth of the file system, at most 1 GiB, or what was asked for', () => {
  assert.equal(reserveBytes(host, { freeBytes: 0, sizeBytes: 100 * MIB }), 5 * MIB);
  assert.equal(reserveBytes(host, gib(0, 20)), GIB);
  assert.equal(reserveBytes(host, gib(0, 4000)), GIB);
  assert.equal(reserveBytes({ storageReserveBytes: 20 * GIB }, gib(0)), 20 * GIB);
  assert.equal(reserveBytes({ storageReserveBytes: 0 }, gib(0)), 0);
});

test('a run may begin exactly when the reserve stays untouched by what it needs', () => {
  assert.equal(whyNoRoom(host, gib(3), 2 * GIB), null);
  assert.equal(whyNoRoom(host, gib(1), 0), null);
  const amounts = fc.record({
    free: fc.integer({ min: 0, max: 8192 }),
    size: fc.integer({ min: 1, max: 8192 }),
    needed: fc.integer({ min: 0, max: 8192 }),
    asked: fc.option(fc.integer({ min: 0, max: 8192 })),
  });
  fc.assert(
    fc.property(amounts, ({ free, size, needed, asked }) => {
      const room = { freeBytes: free, sizeBytes: size };
      const kept = reserveBytes({ storageReserveBytes: asked }, room);
      const why = whyNoRoom({ storageReserveBytes: asked }, room, needed);
      assert.equal(why === null, free - needed >= kept);
    }),
  );
});

test('a refusal says how much is free, needed and kept, and where', () => {
  const needing = whyNoRoom(host, gib(1.5), 2 * GIB) ?? '';
  assert.equal(
    needing,
    '1.50 GiB are free, and the run needs about 2.00 GiB beside the 1.00 GiB that are kept in reserve',
  );
  assert.equal(whyNoRoom(host, gib(0.5), 0), '512 MiB are free, and 1.00 GiB are kept in reserve');
  const { code, message } = tooLittleRoom(host, needing);
  assert.equal(code, 'target-full');
  assert.ok(
    message.startsWith(`The storage at /srv/u of host recovery has too little room: ${needing}.`),
  );
});

test('whatever is written meanwhile at 4 GiB a second, the reserve is not passed by more than the shortest look', () => {
  const amounts = fc.record({ free: fc.nat(1e13), size: fc.nat(1e14) });
  fc.assert(
    fc.property(amounts, ({ free, size }) => {
      const room = { freeBytes: free, sizeBytes: size };
      const ms = lookAgainMs(host, room);
      assert.ok(ms > 0 && ms <= LOOK_MS_MAX);
      const untilThenBytes = (ms * 4 * GIB) / 1000;
      const least = Math.min(free, reserveBytes(host, room));
      assert.ok(ms === 50 || free - untilThenBytes >= least - 1);
    }),
  );
});

test('what does not fit blocks, what fits only just is a warning, and what fits well is not worth a word', () => {
  const found = (freeGib: number, neededGib: number, othersGib = 0) =>
    roomFinding(host, gib(freeGib), {
      neededBytes: neededGib * GIB,
      othersBytes: othersGib * GIB,
    });
  assert.equal(found(14, 10), null);
  assert.equal(found(13.5, 10), null, 'a quarter of it is left');
  assert.equal(found(13.4, 10)?.severity, 'warns');
  assert.equal(found(11, 10)?.severity, 'warns');
  assert.equal(found(10.9, 10)?.severity, 'blocks');
  assert.equal(found(14, 10, 4)?.severity, 'blocks', 'others of the job come before it');
  assert.equal(found(0, 0)?.severity, 'blocks', 'a storage at its reserve takes nothing');
  assert.equal(
    found(10, 12, 3)?.message,
    'Its first restore point needs about 12.0 GiB; at /srv/u on host recovery 10.0 GiB are free, other VMs of the job ' +
      'need about 3.00 GiB, and 1.00 GiB are kept in reserve. Make room there.',
  );
});
