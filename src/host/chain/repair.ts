/**
 * Carries out repairs. A finding may be old, so everything is looked at again first, and only what is
 * still so is repaired. Order matters: nothing is dropped before it was tried to be kept.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ReplicaFinding } from '../../domain/replica/finding.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { StoreCommand } from '../../ports/replica-store.ts';
import { admit, layoutOf, type StoreContext } from './context.ts';
import { inspectReplica } from './inspect.ts';
import type { ReplicaLayout } from './layout.ts';
import { finishMerges } from './merge.ts';
import { dropPartial } from './open-partial.ts';
import { removePoint } from './point-file.ts';
import { rebuildRecord } from './rebuild-record.ts';
import { requireRecord, writeRecord } from './record.ts';
import { rehash } from './rehash.ts';
import { isDrift, tidyChains } from './retire.ts';

type Repairing = {
  readonly context: StoreContext;
  readonly layout: ReplicaLayout;
  readonly options: CallOptions;
};

export async function repairReplica(
  context: StoreContext,
  command: StoreCommand & { readonly findings: readonly ReplicaFinding[] },
  options: CallOptions,
): Promise<void> {
  const layout = layoutOf(context, command.replicaId);
  const repairing = { context, layout, options };
  const current = await inspectReplica(context, command.replicaId);
  const wanted = current.filter((found) => command.findings.some((each) => isSame(each, found)));
  if (wanted.some(({ kind }) => kind === 'record-missing')) {
    // There is no epoch left to compare with; this command's becomes the highest seen.
    await rebuildRecord(layout, { epoch: command.epoch });
    return;
  }
  await admit(layout, command);
  await forEachOf(wanted, 'finish-merge', () => finishMerges(context, layout, options));
  await forEachOf(wanted, 'discard-partial', ({ object }) => discard(repairing, object));
  await forEachOf(wanted, 'rehash-layer', ({ layerId }) =>
    rehash(context, layout, layerId, options),
  );
  await forEachOf(wanted, 'drop-points', ({ pointIds }) => drop(layout, pointIds));
  await forEachOf(wanted, 'delete-debris', ({ object }) =>
    rm(join(layout.folder, object), { recursive: true, force: true }),
  );
  const left = await inspectReplica(context, command.replicaId);
  if (!left.some((finding) => finding.blocksWrites && finding.repair !== 'drop-points')) {
    // What is damaged stays hidden below the archive that reads through it; who looks again is told.
    await tidyChains(context, layout, options).catch((error: unknown) => {
      if (!isDrift(error)) throw error;
    });
  }
}

function isSame(a: ReplicaFinding, b: ReplicaFinding): boolean {
  return a.kind === b.kind && a.object === b.object && a.repair === b.repair;
}

async function forEachOf(
  findings: readonly ReplicaFinding[],
  repair: ReplicaFinding['repair'],
  run: (finding: ReplicaFinding) => Promise<void>,
): Promise<void> {
  for (const finding of findings) if (finding.repair === repair) await run(finding);
}

async function discard({ context, layout, options }: Repairing, pointId: string): Promise<void> {
  const record = await requireRecord(layout);
  const partial = record.partials.find((each) => each.pointId === pointId);
  if (partial !== undefined) await dropPartial(context, layout, { record, partial }, options);
}

/** The record is normalised by the caller's `admit`; a point that goes must not come back as a partial one. */
async function drop(layout: ReplicaLayout, pointIds: ReplicaFinding['pointIds']): Promise<void> {
  const record = await requireRecord(layout);
  const partials = record.partials.filter(({ pointId }) => !pointIds.includes(pointId));
  await writeRecord(layout, { ...record, partials });
  for (const id of pointIds) await removePoint(layout, id);
}
