/**
 * Connects host records to drivers. One connection per host, made when first needed, and anew when the record says so: a
 * second one beside what is under way would take that for what a dead server has left behind. A start guard that comes or
 * goes is no reason.
 */
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { UnderstudyError } from '../domain/error.ts';
import type { Host, HostKind } from '../domain/host/host.ts';
import type { HostId } from '../domain/ids.ts';
import { createReplicaStore } from '../host/chain/store.ts';
import { createHostEpochs, epochNotes } from '../host/libvirt/host-epochs.ts';
import { createLibvirtHypervisor } from '../host/libvirt/hypervisor.ts';
import { createLibvirtPointSource } from '../host/libvirt/point-source.ts';
import { collectSidecars } from '../host/libvirt/sidecars.ts';
import { createLibvirtStartGuard } from '../host/libvirt/start-guard.ts';
import { createLibvirtTestBench } from '../host/libvirt/test-bench.ts';
import { createVirsh } from '../host/libvirt/virsh.ts';
import { createLibvirtProductionDisks } from '../host/libvirt/working-layers.ts';
import type { Catalog, Versioned } from '../ports/catalog.ts';
import type { Clock } from '../ports/clock.ts';
import type { HostDirectory, HostPorts } from '../ports/host-directory.ts';
import type { Ids } from '../ports/ids.ts';
import type { Mover } from '../ports/mover.ts';
import type { Processes } from '../ports/processes.ts';

export type DriverTools = {
  readonly processes: Processes;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly mover: Mover;
  /** Sockets of image servers; short, because a socket path holds 107 bytes. */
  readonly runtimeFolder: string;
};

/** Without what may change while the rest stays. */
type Connection = Omit<HostPorts, 'startGuard'> & {
  readonly startGuard: (hooksFolder: string | null) => HostPorts['startGuard'];
};

type Driver = (host: Host, tools: DriverTools) => Connection;

type Connected = {
  readonly record: Versioned<Host>;
  readonly connection: Connection;
  readonly ports: HostPorts;
};

const DRIVERS: Readonly<Record<HostKind, Driver | null>> = {
  libvirt: connectLibvirt,
  simulated: null,
};

export function createHostDirectory(catalog: Catalog, tools: DriverTools): HostDirectory {
  const connected = new Map<HostId, Connected>();
  const connect = async (id: HostId): Promise<HostPorts> => {
    const record = await catalog.host(id);
    if (record === null) throw new UnderstudyError('host-missing', { host: id });
    const known = connected.get(id);
    if (known?.record.version === record.version) return known.ports;
    const isSame = known !== undefined && isAtSamePlace(known.record.value, record.value);
    const connection = isSame ? known.connection : open(record.value, tools);
    const startGuard = connection.startGuard(record.value.startGuard?.hooksFolder ?? null);
    const ports = { ...connection, startGuard };
    connected.set(id, { record, connection, ports });
    return ports;
  };
  return { ports: connect, commands: connect };
}

function isAtSamePlace(before: Host, now: Host): boolean {
  return isDeepStrictEqual({ ...before, startGuard: null }, { ...now, startGuard: null });
}

function open(host: Host, tools: DriverTools): Connection {
  const driver = DRIVERS[host.kind];
  if (driver !== null) return driver(host, tools);
  const reason = `hosts of kind ${host.kind} exist only in simulations`;
  throw new UnderstudyError('invalid-request', { reason });
}

function connectLibvirt(host: Host, tools: DriverTools): Connection {
  const { processes, clock, ids } = tools;
  const { storageFolder, scratchFolder, name: hostName } = host;
  const runtimeFolder = shortFolder(tools.runtimeFolder, host.id);
  const virsh = createVirsh({ uri: host.address, hostName, processes });
  const hypervisor = createLibvirtHypervisor({
    virsh,
    processes,
    clock,
    ids,
    storageFolder,
  });
  const epochs = createHostEpochs({ notes: epochNotes(storageFolder), clock });
  const pointSource = createLibvirtPointSource({
    virsh,
    processes,
    clock,
    hostName,
    scratchFolder,
    describeVm: (vmId, options) => hypervisor.vm(vmId, options),
    collectSidecars: (request, options) => collectSidecars({ processes }, request, options),
  });
  const store = createReplicaStore({
    storageFolder,
    runtimeFolder,
    processes,
    clock,
    verifier: tools.mover,
  });
  const productionDisks = createLibvirtProductionDisks({
    virsh,
    processes,
    clock,
    ids,
    hostName,
    storageFolder,
    runtimeFolder,
    epochs,
    traits: hypervisor.traits,
  });
  const testBench = createLibvirtTestBench({
    virsh,
    processes,
    clock,
    storageFolder,
    traits: (options) => hypervisor.traits(options),
    probeProgram: [process.execPath, join(import.meta.dirname, 'probe.ts')],
  });
  const startGuard = (hooksFolder: string | null) =>
    createLibvirtStartGuard({ virsh, hooksFolder, traits: hypervisor.traits });
  return { hypervisor, pointSource, store, productionDisks, testBench, startGuard, epochs };
}

function shortFolder(runtimeFolder: string, id: HostId): string {
  const name = createHash('sha256').update(id).digest('hex').slice(0, 8);
  const folder = join(runtimeFolder, name);
  mkdirSync(folder, { recursive: true, mode: 0o711 });
  chmodSync(folder, 0o711);
  return folder;
}
