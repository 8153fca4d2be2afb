/** What operations that are queued wait for, in words: made up when it is asked for, since it changes with every operation that ends. */
import type { OperationId } from '../../domain/ids.ts';
import type { OperationRecord } from '../../domain/operation/operation.ts';
import type { Wait } from '../../ports/controller.ts';
import type { SlotWait } from '../../ports/durable.ts';
import type { ControllerPorts } from './controller-ports.ts';

export async function waitsOf(
  { catalog, durable }: ControllerPorts,
  operations: readonly OperationRecord[],
): Promise<ReadonlyMap<OperationId, readonly Wait[]>> {
  const queued = operations.filter(({ state }) => state === 'queued').map(({ id }) => id);
  if (queued.length === 0) return new Map();
  const lacking = await durable.waits(queued);
  const hosts = new Map((await catalog.hosts()).map(({ value }) => [`${value.id}`, value]));
  const holders = new Map<OperationId, OperationRecord | null>();
  const describe = async ({ name, limit, taken, heldBy }: SlotWait): Promise<Wait> => {
    for (const id of heldBy) {
      if (!holders.has(id)) holders.set(id, await durable.operation(id));
    }
    const having = heldBy.map((id) => holders.get(id) ?? null).filter((one) => one !== null);
    const { what, place } = slotOf(name);
    const host = hosts.get(place) ?? null;
    const hostName = host?.name ?? place;
    const message = sentence({ what, taken: `${taken} of ${limit}`, hostName, heldBy: having });
    return { message, limit, taken, hostId: host?.id ?? null, heldBy: having };
  };
  const told = new Map<OperationId, readonly Wait[]>();
  for (const [id, slots] of lacking) told.set(id, await Promise.all(slots.map(describe)));
  return told;
}

/** `transfer:HOST`, `test:HOST`, `source:HOST/VM`, `place:HOST/VM`. */
function slotOf(name: string | null): { readonly what: string; readonly place: string } {
  const [, what = '', place = ''] = /^(\w+):([^/]*)/.exec(name ?? '') ?? [];
  return { what, place };
}

type Lacked = Pick<Wait, 'heldBy'> & {
  readonly what: string;
  /** `2 of 2`. */
  readonly taken: string;
  readonly hostName: string;
};

/** To follow `Waits for`. */
function sentence({ what, taken, hostName, heldBy }: Lacked): string {
  switch (what) {
    case 'transfer':
      return `a place on host ${hostName}, where ${taken} for transfers are taken: ${names(heldBy)}`;
    case 'test':
      return `a place on host ${hostName}, where ${taken} for tests are taken: ${names(heldBy)}`;
    case 'source':
      return `${names(heldBy)}: one operation at a time has the disks of a VM`;
    case 'place':
      return `${names(heldBy)}: one operation at a time takes the place of a VM`;
    default:
      return `any other to end, since ${taken} operations run`;
  }
}

const NAMED_MAX = 3;

function names(operations: Lacked['heldBy']): string {
  const named = operations.slice(0, NAMED_MAX).map(({ kind, id, state }) => {
    return `${kind} ${id}${state === 'queued' ? ' (queued before it)' : ''}`;
  });
  const more = operations.length - named.length;
  return [...named, ...(more > 0 ? [`${more} more`] : [])].join(', ');
}
