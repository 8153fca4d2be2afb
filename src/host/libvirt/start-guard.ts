/** The start guard port on libvirt: a hook and a folder of guards (guard-hook.ts), on the machine of the server. */
import { UnderstudyError } from '../../domain/error.ts';
import { DEFAULT_HOOKS_FOLDER } from '../../domain/host/host.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { StartGuard } from '../../ports/start-guard.ts';
import { readGuards, removeGuard, writeGuard } from './guard-files.ts';
import { hookPlaces, installHook, removeHook } from './guard-hook.ts';
import { proveHook } from './guard-probe.ts';
import type { TargetTraits } from './replica-xml.ts';
import type { Virsh } from './virsh.ts';

export type StartGuardSettings = {
  readonly virsh: Virsh;
  /** Null: nobody asked for a guard yet. */
  readonly hooksFolder: string | null;
  readonly traits: (options: CallOptions) => Promise<TargetTraits>;
};

export function createLibvirtStartGuard(settings: StartGuardSettings): StartGuard {
  const { virsh, traits } = settings;
  const places = hookPlaces(settings.hooksFolder ?? DEFAULT_HOOKS_FOLDER);
  const { guardsFolder } = places;
  // Probes share one VM name, so they take turns.
  let turn: Promise<unknown> = Promise.resolve();
  return {
    async install() {
      refuseElsewhere(virsh);
      await installHook(places);
    },
    remove: () => removeHook(places),
    prove(options) {
      const mine = turn.then(() => proveHook({ virsh, places, traits }, options));
      turn = mine.catch(() => undefined); // whoever asked hears of it
      return mine;
    },
    held: async () => (await readGuards(guardsFolder)) ?? [],
    async hold(vm) {
      if ((await readGuards(guardsFolder)) === null) {
        throw new UnderstudyError('guard-absent', { host: virsh.hostName });
      }
      await writeGuard(guardsFolder, vm);
    },
    release: (command) => removeGuard(guardsFolder, command),
  };
}

/** Throws `guard-refused`. A session daemon has hooks of the whole machine only (libvirt src/util/virhook.c). */
function refuseElsewhere({ uri, hostName: host }: Virsh): void {
  const { path, machine } = /^[^:]+:\/\/(?<machine>[^/]*)(?<path>\/[^?]*)/.exec(uri)?.groups ?? {};
  const isSession = path === '/session';
  if (!isSession && machine === '') return;
  const reason = isSession
    ? 'it is a session daemon, and libvirt has hooks for the daemons of the system only'
    : 'it is on another machine, and its hooks cannot be written from here';
  throw new UnderstudyError('guard-refused', { host, reason });
}
