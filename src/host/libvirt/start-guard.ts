/** The start guard port on libvirt: a hook and a folder of guards (guard-hook.ts), on the machine of the server. */
import { UnderstudyError } from '../../domain/error.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { StartGuard } from '../../ports/start-guard.ts';
import { readGuards, removeGuard, writeGuard } from './guard-files.ts';
import { hookPlaces, installHook, removeHook } from './guard-hook.ts';
import { proveHook } from './guard-probe.ts';
import type { TargetTraits } from './replica-xml.ts';
import type { Virsh } from './virsh.ts';

export type StartGuardSettings = {
  readonly virsh: Virsh;
  /** Null: nobody asked for a guard, so that no folder of hooks is its own: nothing is read or written anywhere. */
  readonly hooksFolder: string | null;
  readonly traits: (options: CallOptions) => Promise<TargetTraits>;
};

export function createLibvirtStartGuard(settings: StartGuardSettings): StartGuard {
  const { virsh, traits, hooksFolder } = settings;
  const places = hooksFolder === null ? null : hookPlaces(hooksFolder);
  const absent = () => new UnderstudyError('guard-absent', { host: virsh.hostName });
  // Probes share one VM name, so they take turns.
  let turn: Promise<unknown> = Promise.resolve();
  return {
    async install() {
      refuseElsewhere(virsh);
      if (places === null) throw absent();
      await installHook(places);
    },
    async remove() {
      if (places !== null) await removeHook(places);
    },
    async prove(options) {
      if (places === null) return { state: 'absent', because: 'Nobody asked for a guard.' };
      const mine = turn.then(() => proveHook({ virsh, places, traits }, options));
      turn = mine.catch(() => undefined); // whoever asked hears of it
      return mine;
    },
    async held() {
      return places === null ? [] : ((await readGuards(places.guardsFolder)) ?? []);
    },
    async hold(vm) {
      if (places === null || (await readGuards(places.guardsFolder)) === null) throw absent();
      await writeGuard(places.guardsFolder, vm);
    },
    async release(command) {
      if (places !== null) await removeGuard(places.guardsFolder, command);
    },
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
