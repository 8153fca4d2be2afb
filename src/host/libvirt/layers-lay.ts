/** Laying working layers: made, the VM parked, served. */
import { access, chmod, rename } from 'node:fs/promises';
import { UnderstudyError } from '../../domain/error.ts';
import type { VmDescription } from '../../domain/vm/vm.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { DiskBelow, LayRequest, WorkingDisk } from '../../ports/production-disks.ts';
import { UNABORTED } from './freeze-context.ts';
import { readFlags } from './inspect.ts';
import {
  describe,
  findLaid,
  type Laid,
  type LayersContext,
  readWholeDefinition,
} from './layers-context.ts';
import { drop } from './layers-drop.ts';
import { park } from './layers-park.ts';
import { type LaidLayer, type LayersPlaces, layersPlaces, writeLayers } from './layers-record.ts';
import { endServer, type Served, serveLayers } from './layers-server.ts';
import { readImageHeader } from './marks-offline.ts';
import { foundExtents } from './offline-freeze.ts';
import { readQemuIdentity, refuseClosedParents } from './scratch-access.ts';
import { syncWithName } from './sync.ts';

/** As the branches of replicas: libvirt gives it to QEMU's user when the VM starts. */
const LAYER_MODE = 0o660;

export async function lay(
  context: LayersContext,
  request: LayRequest,
  options: CallOptions,
): Promise<readonly WorkingDisk[]> {
  const found = await findLaid(context, request);
  // One whose drop was cut off is dropped first, or its files would be taken for new ones.
  if (found === null) await drop(context, request, options);
  const { places, record } =
    found === null
      ? await plan(context, request, options)
      : await takeUp(context, found, request, options);
  context.crashPoint('lay: planned');
  await refuseClosed(context, places, options);
  for (const layer of record.layers) {
    await makeLayer(context, layer, options);
    context.crashPoint(`lay: made ${layer.key}`);
  }
  const parked = await park(context, { places, record }, options);
  context.crashPoint('lay: parked');
  return serve(context, { places, record: parked }, options);
}

/** QEMU runs as another user. Throws `access-denied` with the fix. */
async function refuseClosed(
  { virsh, processes }: LayersContext,
  { folder, recordPath }: LayersPlaces,
  options: CallOptions,
): Promise<void> {
  const { user } = await readQemuIdentity(virsh, options);
  if (user !== null) await refuseClosedParents({ folder: recordPath, user, processes }, options);
  await access(folder);
}

/** Throws `vm-not-off`, `saved-state-present`, `vm-missing`, `unsupported-disk`. */
async function plan(
  context: LayersContext,
  request: LayRequest,
  options: CallOptions,
): Promise<Laid> {
  const { virsh, storageFolder } = context;
  const { failbackId, replicaId, vmId } = request;
  const places = layersPlaces(storageFolder, failbackId);
  const vm = vmId === null ? null : await describe(context, vmId, options);
  if (vm !== null) requireStill(vm);
  const flags = vmId === null ? null : await readFlags(virsh, vmId, options);
  const layers = request.disks.map((disk) => planLayer(places, vm, disk));
  if (vm !== null) await requireFree(context, vm, layers, options);
  const record = await writeLayers(places, {
    format: 1,
    replicaId,
    state: 'laid',
    vmId,
    originalXml: vm === null ? null : await readWholeDefinition(virsh, vm.id, options),
    startsWithHost: flags?.startsWithHost ?? false,
    layers,
    mark: null,
    changes: [],
    hasNvram: false,
    process: null,
  });
  return { places, record };
}

/** Disks that were not laid before, and larger sizes. */
async function takeUp(
  context: LayersContext,
  laid: Laid,
  { disks }: LayRequest,
  options: CallOptions,
): Promise<Laid> {
  const { places } = laid;
  const known = laid.record.layers;
  const sizeOf = (key: string) => disks.find((disk) => disk.key === key)?.sizeBytes ?? 0;
  const grown = known.filter(({ key, sizeBytes }) => sizeOf(key) > sizeBytes);
  const added = disks.filter(({ key }) => !known.some((layer) => layer.key === key));
  if (grown.length + added.length === 0) return laid;
  const settled = await endServer(context, laid, options);
  // Before it is written down: whoever is cut off in between does it again.
  for (const { key, path } of grown) await growLayer(context, { path, sizeBytes: sizeOf(key) });
  context.crashPoint('lay: grown');
  const layers = [
    ...known.map((layer) =>
      grown.includes(layer) ? { ...layer, sizeBytes: sizeOf(layer.key) } : layer,
    ),
    ...added.map((disk) => planLayer(places, null, disk)),
  ];
  return { places, record: await writeLayers(places, { ...settled, layers }) };
}

/** Not to be cut off half-way: it takes a moment. */
async function growLayer(
  { processes }: LayersContext,
  { path, sizeBytes }: { readonly path: string; readonly sizeBytes: number },
): Promise<void> {
  if (!(await exists(path))) return;
  const command = 'qemu-img';
  const args = ['resize', '-q', '-f', 'qcow2', '--', path, String(sizeBytes)];
  const { exitCode, stderr } = await processes.run({ command, arguments: args }, UNABORTED);
  if (exitCode !== 0) throw imageError('grow', path, stderr);
}

function requireStill({ name, power, hasSavedState }: VmDescription): void {
  if (power !== 'off') throw new UnderstudyError('vm-not-off', { vm: name });
  if (hasSavedState) throw new UnderstudyError('saved-state-present', { vm: name });
}

/** Throws `disk-in-use`: another program has it open for writing. */
async function requireFree(
  { processes }: LayersContext,
  vm: VmDescription,
  layers: readonly LaidLayer[],
  options: CallOptions,
): Promise<void> {
  for (const { key, below } of layers) {
    if (below === null) continue;
    const args = ['info', '--output=json', '-f', below.format, '--', below.path];
    const result = await processes.run({ command: 'qemu-img', arguments: args }, options);
    if (result.exitCode === 0) continue;
    const reason = result.stderr.trim().split('\n')[0] ?? '';
    if (/Failed to get .*lock/i.test(result.stderr)) {
      throw new UnderstudyError('disk-in-use', { disk: key, vm: vm.name, reason });
    }
    throw imageError('look at', below.path, result.stderr);
  }
}

function planLayer(
  places: LayersPlaces,
  vm: VmDescription | null,
  { key, sizeBytes, base, since }: LayRequest['disks'][number],
): LaidLayer {
  const path = places.layerPath(key);
  if (base === 'none') return { key, path, sizeBytes, below: null, since: null };
  const disk = vm?.disks.find((candidate) => candidate.key === key);
  const refuse = (reason: string) =>
    new UnderstudyError('unsupported-disk', { disk: key, vm: vm?.name ?? 'none', reason });
  if (disk === undefined) throw refuse('the VM has no such disk');
  if (disk.unsupportedBecause !== null) throw refuse(disk.unsupportedBecause);
  if (disk.sizeBytes > sizeBytes) throw refuse('it is larger than its replica');
  return { key, path, sizeBytes, below: { path: disk.path, format: disk.format }, since };
}

/** Made under another name, so that it is there whole or not at all. */
async function makeLayer(
  { processes }: LayersContext,
  { path, sizeBytes, below }: LaidLayer,
  options: CallOptions,
): Promise<void> {
  if (await exists(path)) return;
  const temporary = `${path}.new`;
  const over = below === null ? [] : ['-b', below.path, '-F', below.format];
  const args = ['create', '-q', '-f', 'qcow2', ...over, '--', temporary, String(sizeBytes)];
  const { exitCode, stderr } = await processes.run(
    { command: 'qemu-img', arguments: args },
    options,
  );
  if (exitCode !== 0) throw imageError('create', path, stderr);
  await chmod(temporary, LAYER_MODE);
  await syncWithName(temporary);
  await rename(temporary, path);
  await syncWithName(path);
}

export function imageError(action: string, path: string, stderr: string): UnderstudyError {
  if (/No space left/i.test(stderr))
    return new UnderstudyError('target-full', { path, reason: 'it is full' });
  const reason = (stderr.trim().split('\n').at(-1) ?? '').slice(0, 1000);
  return new UnderstudyError('image-command-failed', { action, path, reason });
}

export async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}

async function serve(
  context: LayersContext,
  laid: Laid,
  options: CallOptions,
): Promise<readonly WorkingDisk[]> {
  const below = new Map<string, Omit<DiskBelow, 'endpoint'>>();
  const marks = new Map<string, string>();
  for (const layer of laid.record.layers) {
    const seen = await lookBelow(context, layer, options);
    if (seen === null) continue;
    below.set(layer.key, seen);
    if (seen.found.type === 'changed') marks.set(layer.key, seen.found.since);
  }
  const { of } = await serveLayers(context, laid, marks, options);
  return laid.record.layers.map(({ key }) => workingDisk(of(key), key, below.get(key) ?? null));
}

function workingDisk(
  served: Served,
  key: LaidLayer['key'],
  below: Omit<DiskBelow, 'endpoint'> | null,
): WorkingDisk {
  const endpoint = served.below;
  return { key, layer: served.layer, below: below === null ? null : { ...below, endpoint } };
}

async function lookBelow(
  { processes }: LayersContext,
  { key, below, since }: LaidLayer,
  options: CallOptions,
): Promise<Omit<DiskBelow, 'endpoint'> | null> {
  if (below === null) return null;
  const image = { path: below.path, format: below.format, vm: key };
  const header = await readImageHeader(processes, image, options);
  const tracksChanges = below.format === 'qcow2';
  const wanted = { since: since === null ? {} : { [key]: since } };
  const disk = { key, tracksChanges, sizeBytes: header.sizeBytes };
  const found = foundExtents(disk, header, wanted);
  const extents =
    found.type === 'changed'
      ? ({ type: 'changed', metaContext: `qemu:dirty-bitmap:${found.since}` } as const)
      : ({ type: 'allocated' } as const);
  return { ...disk, found, extents };
}
