import type { HostDescription } from '../../domain/host/host.ts';
import type { CallOptions } from '../../ports/call.ts';
import { bootsGuest, type ProbeTools } from './boot-probe.ts';
import type { HostFacts } from './host-facts.ts';

export type Acceleration = HostDescription['acceleration'];

export interface AccelerationProof {
  /**
   * What a test boot proved, once per emulator; calls at the same time share one boot. An answer without proof
   * (`unproved`) is not kept. Throws `host-unreachable`, `cancelled`.
   */
  of(facts: HostFacts, options: CallOptions): Promise<Acceleration>;
}

/** The boot code is for one; elsewhere nothing is known, and nothing is claimed. */
export const PROVABLE_ARCHITECTURE = 'x86_64';

/** Hardware takes 0.5 s. A host that needs longer than this does not run guests usefully. */
const HARDWARE_DEADLINE_MS = 5_000;
const SOFTWARE_DEADLINE_MS = 20_000;

export function createAccelerationProof(tools: ProbeTools): AccelerationProof {
  const proved = new Map<string, Acceleration>();
  // Probes share one VM name, so they take turns; a waiter finds the answer of the one before.
  let turn: Promise<unknown> = Promise.resolve();
  return {
    of(facts, options) {
      const key = `${facts.emulatorVersion} ${facts.emulatorPath}`;
      const known = proved.get(key);
      if (known !== undefined) return Promise.resolve(known);
      const mine = turn.then(async () => {
        const answer = proved.get(key) ?? (await prove(tools, facts, options));
        if (answer !== 'unproved') proved.set(key, answer);
        return answer;
      });
      turn = mine.catch(() => undefined);
      return mine;
    },
  };
}

async function prove(
  tools: ProbeTools,
  { architecture, domainTypes }: HostFacts,
  options: CallOptions,
): Promise<Acceleration> {
  if (architecture !== PROVABLE_ARCHITECTURE) return 'unproved';
  const hardware = { domainType: 'kvm', deadlineMs: HARDWARE_DEADLINE_MS } as const;
  if (domainTypes.includes('kvm') && (await bootsGuest(tools, hardware, options)))
    return 'hardware';
  const software = { domainType: 'qemu', deadlineMs: SOFTWARE_DEADLINE_MS } as const;
  return (await bootsGuest(tools, software, options)) ? 'software' : 'unproved';
}
