import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { UnderstudyError } from '../../domain/error.ts';
import { powerStateOf, readDomain } from './domain-xml.ts';
import { EVERYTHING } from './fixtures/fixtures.ts';

describe('a domain definition', () => {
  it('is read', () => {
    const vm = readDomain(EVERYTHING, 'vm');
    assert.equal(vm.name, `win <prod> 'n" 1`);
    assert.equal(vm.id, '8f0c2a5e-54fe-4c1a-9a77-3c1f1f0e5b11');
    assert.equal(vm.memoryBytes, 8 * 1024 ** 3);
    assert.equal(vm.cpuCount, 4);
    assert.deepEqual(
      vm.nics.map(({ mac, network, isConnected }) => `${mac} ${network} ${isConnected}`),
      [
        '52:54:00:ab:cd:01 network:lan true',
        '52:54:00:ab:cd:02 bridge:br-dmz false',
        '52:54:00:ab:cd:03 hostdev true',
      ],
    );
    assert.deepEqual(
      vm.disks.map(({ key, path, format, unsupportedBecause }) => [
        key,
        path,
        format,
        unsupportedBecause,
      ]),
      [
        ['sda', '/var/lib/libvirt/images/win, a:b.qcow2', 'qcow2', null],
        ['sdb', '/dev/vg0/data', 'raw', null],
        ['vdc', 'pool/image', 'raw', 'it is a network disk, not a file'],
        [
          'vdd',
          '/shared/quorum.qcow2',
          'qcow2',
          'it is shared with other VMs, which write to it too',
        ],
      ],
    );
  });

  it('reads every unit of memory', () => {
    const bytes = (unit: string) =>
      readDomain(EVERYTHING.replace("<memory unit='KiB'>8388608", `<memory unit='${unit}'>2`), 'vm')
        .memoryBytes;
    assert.deepEqual(['b', 'KB', 'KiB', 'MiB', 'G', 'TiB'].map(bytes), [
      2,
      2000,
      2048,
      2 * 1024 ** 2,
      2 * 1024 ** 3,
      2 * 1024 ** 4,
    ]);
  });

  it('is read or refused, however it was damaged', () => {
    const spot = fc.nat(EVERYTHING.length);
    const damage = fc.tuple(spot, spot, fc.string({ maxLength: 8 }));
    fc.assert(
      fc.property(damage, ([a, b, put]) => {
        try {
          readDomain(EVERYTHING.slice(0, a) + put + EVERYTHING.slice(b), 'vm');
        } catch (error) {
          if (!(error instanceof UnderstudyError)) throw error;
          assert.equal(error.code, 'invalid-vm-configuration');
        }
      }),
      { numRuns: 300 },
    );
  });

  it('calls a VM off only when its QEMU is gone', () => {
    const words = [
      'running',
      'idle',
      'paused',
      'in shutdown',
      'shut off',
      'crashed',
      'pmsuspended',
      'no state',
      '',
      'off?',
    ];
    assert.deepEqual(words.map(powerStateOf), [
      'running',
      'running',
      'paused',
      'running',
      'off',
      'paused',
      'paused',
      'unknown',
      'unknown',
      'unknown',
    ]);
  });
});
