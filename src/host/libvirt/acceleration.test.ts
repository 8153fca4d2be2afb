import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { UnderstudyError } from '../../domain/error.ts';
import { instant } from '../../domain/instant.ts';
import type { Clock } from '../../ports/clock.ts';
import { createAccelerationProof } from './acceleration.ts';
import { refusal, scriptedVirsh } from './fixtures/fixtures.ts';
import type { HostFacts } from './host-facts.ts';

const signal = new AbortController().signal;
const facts: HostFacts = {
  hypervisorVersion: 'libvirt 9.0.0',
  emulatorVersion: 'QEMU 7.2.22',
  emulatorPath: '/usr/bin/qemu-system-x86_64',
  architecture: 'x86_64',
  domainTypes: ['qemu', 'kvm'],
  machines: [],
  cpuCount: 2,
  memoryBytes: 1,
};

type Behaviour = 'boots' | 'hangs' | 'aborts' | 'refused';

describe('acceleration', () => {
  const cases: readonly (readonly [Behaviour, Behaviour, string])[] = [
    ['boots', 'boots', 'hardware'],
    ['hangs', 'boots', 'software'],
    ['aborts', 'boots', 'software'],
    ['refused', 'boots', 'software'],
    ['hangs', 'hangs', 'unproved'],
  ];
  for (const [kvm, qemu, expected] of cases) {
    it(`is ${expected} where kvm ${kvm} and emulation ${qemu}`, async () => {
      await withProof({ kvm, qemu }, async ({ proof, virsh }) => {
        assert.equal(await proof.of(facts, { signal }), expected);
        const boots = () => virsh.asked.filter((line) => line.startsWith('create')).length;
        const before = boots();
        assert.equal(await proof.of(facts, { signal }), expected);
        assert.equal(
          boots() > before,
          expected === 'unproved',
          'a proof is kept, its absence is not',
        );
      });
    });
  }

  it('boots once for callers at the same time', async () => {
    await withProof({ kvm: 'boots', qemu: 'boots' }, async ({ proof, virsh }) => {
      await Promise.all([proof.of(facts, { signal }), proof.of(facts, { signal })]);
      assert.equal(virsh.asked.filter((line) => line.startsWith('create')).length, 1);
    });
  });

  it('claims nothing about another architecture', async () => {
    await withProof({ kvm: 'boots', qemu: 'boots' }, async ({ proof, virsh }) => {
      assert.equal(await proof.of({ ...facts, architecture: 'aarch64' }, { signal }), 'unproved');
      assert.deepEqual(virsh.asked, []);
    });
  });

  it('is not answered by a daemon that is gone', async () => {
    const virsh = scriptedVirsh({
      destroy: () => {
        throw new UnderstudyError('host-unreachable', { host: 'h', reason: 'x' });
      },
    });
    const proof = createAccelerationProof({ virsh, clock: jumpingClock(), folder: tmpdir() });
    await assert.rejects(proof.of(facts, { signal }), /does not answer/);
  });
});

type Stage = {
  readonly proof: ReturnType<typeof createAccelerationProof>;
  readonly virsh: ReturnType<typeof scriptedVirsh>;
};

async function withProof(
  host: Readonly<Record<'kvm' | 'qemu', Behaviour>>,
  use: (stage: Stage) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'us-proof-test-'));
  let guest: Behaviour | null = null;
  const virsh = scriptedVirsh({
    destroy: () => {
      if (guest === null) throw refusal('domain is not running');
      guest = null;
      return '';
    },
    create: ([, xml]) => {
      guest = host[xml?.includes('type="kvm"') ? 'kvm' : 'qemu'];
      if (guest === 'refused') throw refusal('could not find kvm');
      return '';
    },
    'qemu-monitor-command': () => {
      if (guest === 'aborts') throw new UnderstudyError('vm-missing', {});
      return `0000000000000600: ${guest === 'boots' ? '0x4b4f5355' : '0x00000000'}\r\n`;
    },
  });
  try {
    const proof = createAccelerationProof({ virsh, clock: jumpingClock(), folder });
    await use({ proof, virsh });
    assert.equal(guest, null, 'no probe is left running');
    assert.deepEqual(await readdir(folder), []);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Sleeping takes no time but the clock's. */
function jumpingClock(): Clock {
  let now = 0;
  return {
    now: () => instant(now),
    monotonicMs: () => now,
    sleep: async (ms) => {
      now += ms;
    },
  };
}
