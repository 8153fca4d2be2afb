/** Files in a replica's folder that nothing recorded accounts for. */
import { join, relative } from 'node:path';
import { RESTING_BRANCH, type ReplicaLayout } from './layout.ts';
import { namesIn } from './point-file.ts';
import type { ReplicaRecord } from './record.ts';

export type StrayFile = {
  /** Relative to the replica's folder. */
  readonly object: string;
  /** Ours, and of no more use to anyone. */
  readonly isDebris: boolean;
};

const LAYER_ID = /^l-[0-9a-f]{20}$/;
const ID_FILE = /^[a-z0-9][a-z0-9-]*\.(json|nvram|tpm)$/;

type Known = {
  readonly record: ReplicaRecord;
  /** Every point could be read: then no layer is needed that the record does not name. */
  readonly isWhole: boolean;
  readonly isReading: boolean;
};

export async function strayFiles(
  layout: ReplicaLayout,
  known: Known,
): Promise<readonly StrayFile[]> {
  const expected = new Set(['replica.json', 'layers', 'points', 'branches', 'readings']);
  const strays: StrayFile[] = [];
  for (const name of await namesIn(layout.folder)) {
    if (expected.has(name)) continue;
    strays.push({ object: name, isDebris: name === 'replica.json.new' });
  }
  return [
    ...strays,
    ...(await strayLayers(layout, known)),
    ...(await strayPoints(layout, known)),
    ...(await strayBranches(layout)),
    ...(known.isReading ? [] : await oldReadings(layout)),
  ];
}

/** Tables made for a reading go with it; with none open, all are left over. */
async function oldReadings(layout: ReplicaLayout): Promise<readonly StrayFile[]> {
  const names = await namesIn(layout.readings);
  return names.map((name) => ({ object: join('readings', name), isDebris: true }));
}

async function strayLayers(layout: ReplicaLayout, known: Known): Promise<readonly StrayFile[]> {
  const { layers, partials, debris } = known.record;
  const partial = new Set(partials.flatMap((each) => each.layers.map(({ id }) => id as string)));
  const strays: StrayFile[] = [];
  for (const name of await namesIn(layout.layers)) {
    const object = join('layers', name);
    if (partial.has(name)) continue;
    const layer = layers.find(({ id }) => id === name);
    if (layer === undefined) {
      const isOurs = name.startsWith('.gone-') || debris.some((id) => id === name);
      strays.push({ object, isDebris: isOurs || (known.isWhole && LAYER_ID.test(name)) });
      continue;
    }
    const expected = [`${layer.disk}.qcow2`, `${layer.disk}.hash`];
    const left = [...layout.spools(layer), `${layout.table(layer)}.new`];
    const debrisPaths = left.map((path) => relative(layout.folder, path));
    for (const file of await namesIn(join(layout.layers, name))) {
      if (expected.includes(file)) continue;
      const path = join(object, file);
      strays.push({ object: path, isDebris: debrisPaths.includes(path) });
    }
  }
  return strays;
}

async function strayPoints(
  layout: ReplicaLayout,
  { record: { partials } }: Known,
): Promise<readonly StrayFile[]> {
  const names = await namesIn(layout.points);
  return names.flatMap((name): readonly StrayFile[] => {
    const object = join('points', name);
    const base = name.replace(/\.new$/, '');
    if (!ID_FILE.test(base)) return [{ object, isDebris: false }];
    if (base !== name) return [{ object, isDebris: true }];
    const isState = !name.endsWith('.json');
    if (isState && partials.some(({ pointId }) => name.startsWith(`${pointId}.`))) return [];
    const isAlone = isState && !names.includes(name.replace(/\.(nvram|tpm)$/, '.json'));
    return isAlone ? [{ object, isDebris: true }] : [];
  });
}

async function strayBranches(layout: ReplicaLayout): Promise<readonly StrayFile[]> {
  const names = await namesIn(layout.branches);
  return names.flatMap((name): readonly StrayFile[] => {
    const object = join('branches', name);
    if (name.startsWith('.new-') || name.startsWith('.gone-')) return [{ object, isDebris: true }];
    // The whole point of this name is that nothing is there.
    return name === RESTING_BRANCH ? [{ object, isDebris: false }] : [];
  });
}
