import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { diskKey, vmId } from '../ids.ts';
import { configurationChanges, describeChange } from './configuration-change.ts';
import type { VmDescription } from './vm.ts';

const MACS = ['02:00:00:00:00:01', '02:00:00:00:00:02', null] as const;

const description = fc
  .record({
    memoryBytes: fc.constantFrom(1, 2),
    cpuCount: fc.constantFrom(1, 2),
    nics: fc.subarray([...MACS]),
    disks: fc.uniqueArray(
      fc.record({ key: fc.constantFrom('vda', 'vdb'), sizeBytes: fc.constantFrom(10, 20) }),
      { selector: ({ key }) => key },
    ),
  })
  .map(
    ({ nics, disks, ...rest }): VmDescription => ({
      ...rest,
      id: vmId('00000000-0000-4000-8000-000000000001'),
      name: 'web',
      power: 'off',
      nics: nics.map((mac) => ({ mac, network: 'network:lan', isConnected: true })),
      disks: disks.map(({ key, sizeBytes }) => ({
        key: diskKey(key),
        sizeBytes,
        path: `/${key}`,
        format: 'qcow2',
        tracksChanges: true,
        unsupportedBecause: null,
      })),
      configuration: { format: 'simulated', text: '' },
      hasSavedState: false,
    }),
  );

test('what is the same has not changed', () => {
  fc.assert(
    fc.property(description, (vm) => {
      assert.deepEqual(configurationChanges(vm, vm), []);
    }),
  );
});

test('every difference is named once, and each in a line of its own words', () => {
  fc.assert(
    fc.property(description, description, (production, replica) => {
      const changes = configurationChanges(production, replica);
      const macs = (vm: VmDescription) => vm.nics.flatMap(({ mac }) => mac ?? []);
      const keys = (vm: VmDescription) => vm.disks.map(({ key }) => key);
      const missing = <T>(from: readonly T[], other: readonly T[]) =>
        from.filter((one) => !other.includes(one)).length;
      const grown = replica.disks.filter(({ key, sizeBytes }) => {
        const own = production.disks.find((disk) => disk.key === key);
        return own !== undefined && own.sizeBytes < sizeBytes;
      }).length;
      const wanted =
        Number(production.memoryBytes !== replica.memoryBytes) +
        Number(production.cpuCount !== replica.cpuCount) +
        missing(macs(replica), macs(production)) +
        missing(macs(production), macs(replica)) +
        missing(keys(replica), keys(production)) +
        missing(keys(production), keys(replica)) +
        grown;
      assert.equal(changes.length, wanted);
      assert.equal(new Set(changes.map(describeChange)).size, changes.length);
    }),
  );
});
