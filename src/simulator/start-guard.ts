/** The `StartGuard` port of a simulated host. As libvirt does, the host looks for it only when it is reloaded. */
import { UnderstudyError } from '../domain/error.ts';
import type { HeldVm } from '../domain/failover/start-guard.ts';
import type { CallOptions } from '../ports/call.ts';
import type { GuardState, StartGuard } from '../ports/start-guard.ts';
import type { CallGate } from './call-gate.ts';
import type { SimulatedHost } from './host.ts';

const BECAUSE: Record<SimulatedHost['guard'], string> = {
  absent: 'There is none.',
  dormant: 'The host started a VM that the guard held. Reload it.',
  active: 'The host refused to start a VM that the guard held.',
};

export function createSimulatedStartGuard(parts: {
  readonly host: SimulatedHost;
  readonly gate: CallGate;
}): StartGuard {
  const { host, gate } = parts;
  const call = <T>(method: keyof StartGuard, options: CallOptions, body: () => T): Promise<T> =>
    gate.call({ host, port: 'startGuard', method }, options, body);
  return {
    install: (options) =>
      call('install', options, () => {
        if (host.guard === 'absent') host.guard = 'dormant';
      }),
    remove: (options) =>
      call('remove', options, () => {
        host.guard = 'absent';
        host.held.clear();
      }),
    prove: (options) =>
      call(
        'prove',
        options,
        (): GuardState => ({ state: host.guard, because: BECAUSE[host.guard] }),
      ),
    held: (options) =>
      call('held', options, () =>
        [...host.held.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, held]) => held),
      ),
    hold: (vm, options) =>
      call('hold', options, () => {
        if (host.guard === 'absent') throw new UnderstudyError('guard-absent', { host: host.id });
        admit(host, vm);
        host.held.set(nameOf(vm), vm);
      }),
    release: (command, options) =>
      call('release', options, () => {
        admit(host, command);
        host.held.delete(nameOf(command));
      }),
  };
}

/** The host looks for its guard, as when its daemon is reloaded or it boots. */
export function reloadHost(host: SimulatedHost): void {
  if (host.guard === 'dormant') host.guard = 'active';
}

type Named = Pick<HeldVm, 'vmId' | 'replicaId' | 'epoch'>;

function admit(host: SimulatedHost, command: Named): void {
  const current = host.held.get(nameOf(command))?.epoch ?? 0;
  if (command.epoch >= current) return;
  const { replicaId: replica, epoch } = command;
  throw new UnderstudyError('epoch-refused', { replica, current, epoch });
}

function nameOf({ vmId, replicaId }: Named): string {
  return `${vmId}.${replicaId}`;
}
