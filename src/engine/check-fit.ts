/**
 * Whether the target could run the replica as its source is defined by now. The preflight of a job sees the VM as it was then;
 * a run that finds it defined otherwise looks again, so that nobody finds out in a failover. What makes it impossible is a
 * condition until a run finds it mended, on either side; what the replica merely does without is told once.
 */
import { asUnderstudyError } from '../domain/error.ts';
import type { Condition } from '../domain/replica/replica.ts';
import type { PreflightFinding } from '../domain/vm/preflight.ts';
import type { OperationContext, StepAttempt } from '../ports/durable.ts';
import { withDeadline } from './deadline.ts';
import type { Run } from './make-point.ts';
import type { Rest } from './rest-replica.ts';
import { whyLater } from './why-later.ts';

const CONDITION = 'target-unfit';
/** The point is recorded; only what comes after it waits. */
const PATIENCE_MS = 60_000;

type Fit = {
  /** Why it cannot run the replica, or why nobody knows: for the condition; null: nothing stands in the way. */
  readonly verdict: string | null;
  /** What the definition before had not brought about. */
  readonly warns: readonly string[];
};

type Found = Fit & { readonly standing: Condition | null };

type Checked = Pick<Run, 'replica' | 'newest' | 'settings' | 'target' | 'clock' | 'catalog'> &
  Pick<Rest, 'point'>;

/** `newest`: the point before. */
export async function checkFit(context: OperationContext, checked: Checked): Promise<void> {
  const { replica, catalog } = checked;
  const { id: replicaId, sourceVmName } = replica;
  const found = await context.step<Found | null>('check-fit', {
    do: async (attempt) => {
      const conditions = await catalog.conditions(replicaId);
      const standing = conditions.find(({ name }) => name === CONDITION) ?? null;
      if (standing === null && !isRedefined(checked)) return null;
      return { standing, ...(await look(checked, attempt)) };
    },
    undo: 'nothing',
  });
  if (found === null) return;
  const { standing, verdict, warns } = found;
  if (warns.length > 0) {
    await context.note('note-fit', `${sourceVmName} is defined otherwise now. ${warns.join(' ')}`);
  }
  if (verdict !== null) await raise(context, checked, { standing, verdict });
  else if (standing !== null) {
    const cleared = { type: 'condition-cleared', replicaId, name: CONDITION } as const;
    await context.record('record-fit', [cleared], { undo: 'nothing' });
  }
}

async function raise(
  context: OperationContext,
  { replica: { id: replicaId, sourceVmName } }: Checked,
  { standing, verdict }: { readonly standing: Condition | null; readonly verdict: string },
): Promise<void> {
  const message = `${sourceVmName} is defined otherwise now, and ${verdict} Every run looks again.`;
  if (message === standing?.message) return;
  const since = standing?.since ?? (await context.now('unfit-since'));
  const condition = { name: CONDITION, message, since } as const;
  await context.record('record-fit', [{ type: 'condition-raised', replicaId, condition }], {
    undo: 'nothing',
  });
}

/** The first point is of the VM that the preflight of the job has just seen. */
function isRedefined({ newest, point }: Checked): boolean {
  return newest !== null && newest.vm.configuration.text !== point.vm.configuration.text;
}

async function look(checked: Checked, attempt: StepAttempt): Promise<Fit> {
  const { newest, point, clock } = checked;
  try {
    return await withDeadline(clock, PATIENCE_MS, attempt, async (signal) => {
      const now = await preflight(checked, point.vm, signal);
      if (now.length === 0 || newest === null) return fitOf(now, now);
      const before = (await preflight(checked, newest.vm, signal)).map(sentence);
      return fitOf(
        now,
        now.filter((finding) => !before.includes(sentence(finding))),
      );
    });
  } catch (error) {
    if (attempt.signal.aborted) throw error;
    const isSlow = asUnderstudyError(error).kind === 'cancelled';
    const because = isSlow ? 'The target took too long to answer.' : whyLater(error, attempt);
    const verdict = `whether its target could run that was not to be found out. ${because}`;
    return { verdict, warns: [] };
  }
}

function preflight(
  { replica, settings, target }: Checked,
  source: Rest['point']['vm'],
  signal: AbortSignal,
) {
  const { networkMap } = settings;
  const request = { source, standInId: replica.targetVmId, networkMap };
  return target.hypervisor.preflightTarget(request, { signal });
}

function fitOf(now: readonly PreflightFinding[], news: readonly PreflightFinding[]): Fit {
  const of = (all: readonly PreflightFinding[], wanted: PreflightFinding['severity']) =>
    all.filter(({ severity }) => severity === wanted).map(sentence);
  const blocks = of(now, 'blocks');
  const verdict =
    `its target could not run that: ${blocks.join(' ')} ` +
    'Until it is mended on either side, fail over to a restore point from before.';
  return { verdict: blocks.length === 0 ? null : verdict, warns: of(news, 'warns') };
}

function sentence({ element, message }: PreflightFinding): string {
  return `${element}: ${message}`;
}
