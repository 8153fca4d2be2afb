/** What it means for a replica that a host does not answer: told to somebody who sees it for the first time, at night. Pure. */
import type { HostId } from '../ids.ts';
import type { Phase } from '../replica/phase.ts';
import type { Replica } from '../replica/replica.ts';
import { shellArgument } from '../shell-argument.ts';

/** `home`: where production takes over again, or has. */
export type RoleOfHost = 'source' | 'target' | 'home';

export type SilenceFor = {
  readonly role: RoleOfHost;
  /** A sentence without its end. */
  readonly meaning: string;
};

/** Null: this replica has nothing to do with that host any more. */
export function silenceFor(replica: Replica, host: HostId): SilenceFor | null {
  const role = roleOf(replica, host);
  const means = role === null ? undefined : MEANINGS[role][replica.phase];
  if (role === null || means === undefined) return null;
  return { role, meaning: means(shellArgument(replica.name)) };
}

function roleOf(
  { targetHostId, sourceHostId, failback }: Replica,
  host: HostId,
): RoleOfHost | null {
  if (host === targetHostId) return 'target';
  if (host === failback?.home.hostId) return 'home';
  return host === sourceHostId ? 'source' : null;
}

type Meaning = (name: string) => string;

const NO_FIRST_POINT: Meaning = () => 'it gets its first restore point when the host answers';

const MEANINGS: Readonly<Record<RoleOfHost, Partial<Record<Phase, Meaning>>>> = {
  source: {
    Pending: NO_FIRST_POINT,
    Ready: (name) =>
      `no restore points until it answers; if production is down with it, \`understudy failover ${name}\` takes over`,
    Failover: () =>
      'the replica serves; an undo starts the source only when the host answers, and what the source does is unknown',
    ReadyToSwitch: () => 'the replica serves, and production goes to another host',
    Failback: () => 'production serves at another host',
  },
  target: {
    Pending: NO_FIRST_POINT,
    Ready: () => 'no restore points, and nothing to fail over to, until it answers',
    Failover: (name) =>
      `it serves there: if the host is down, nobody serves. \`understudy undo-failover ${name} --force\` goes back to the source, without what it wrote`,
    ReadyToSwitch: (name) =>
      `it serves there: if the host is down, nobody serves. \`understudy cancel-failback ${name}\`, then \`understudy undo-failover ${name} --force\`, goes back to the source, without what it wrote`,
    Failback: () => 'production serves; commit and undo of the failback wait until it answers',
  },
  home: {
    ReadyToSwitch: () => 'the replica serves; no switchover until it answers',
    Failback: (name) =>
      `production runs there: if the host is down, nobody serves. \`understudy undo-failback ${name} --force\` lets the replica serve again, without what production wrote since`,
  },
};
