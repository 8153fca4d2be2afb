/** Failing over, and looking at the replica from outside: through its own HTTP answers, not through ours. */
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { operationSchema } from '../../contract/operation.ts';
import {
  getJson,
  type LedgerState,
  parseLedgerRecord,
  waitForLedger,
} from '../../rig/ledger-client.ts';
import { forwardGuestPort } from '../../rig/port-forward.ts';
import type { PrivateHost } from '../../rig/private-host.ts';
import { formatSeconds } from './report.ts';
import { replicaName, type Scene, type TakenPoint } from './scene.ts';

/** A replica that serves. */
export type Service = {
  readonly vmId: string;
  readonly url: string;
  readonly state: LedgerState;
  /** From the request, by the server: the hypervisor calls it running; its agent answers. */
  readonly runningAfterMs: number;
  readonly agentAfterMs: number | null;
  /** From the command to the first HTTP answer, measured here. */
  readonly answeringAfterMs: number;
};

const resultSchema = z.object({
  runningAfterMs: z.number(),
  answeringAfterMs: z.number().nullable(),
});

/** Runs the command and, beside it, knocks at the replica as its users would. */
export async function failOver(scene: Scene, args: readonly string[]): Promise<Service> {
  const { report, operator, recovery, signal } = scene;
  const { targetVmId: vmId } = await operator.ask(
    ['replica', 'show', replicaName],
    z.object({ targetVmId: z.string() }),
  );
  const orderedAt = performance.now();
  const ordered = operator.order(['failover', replicaName, ...args], operationSchema);
  report.meanwhile('the replica starts');
  const giveUp = new AbortController();
  const answer = firstAnswer(recovery, vmId, AbortSignal.any([signal, giveUp.signal]));
  answer.catch(() => undefined);
  const operation = await ordered.catch((error: unknown) => {
    giveUp.abort();
    throw error;
  });
  const { url, state, at } = await answer;
  const { runningAfterMs, answeringAfterMs } = resultSchema.parse(operation.result);
  const service = {
    vmId,
    url,
    state,
    runningAfterMs,
    agentAfterMs: answeringAfterMs,
    answeringAfterMs: at - orderedAt,
  };
  report.say(
    `${replicaName} ran ${formatSeconds(runningAfterMs)} after the request and answered over HTTP ` +
      `${formatSeconds(service.answeringAfterMs)} after the command`,
  );
  return service;
}

async function firstAnswer(
  host: PrivateHost,
  vmId: string,
  signal: AbortSignal,
): Promise<{ url: string; state: LedgerState; at: number }> {
  while (host.qemuPid(vmId) === undefined) await sleep(20, undefined, { signal });
  const url = await forwarded(host, vmId, signal);
  const state = await waitForLedger(url, { deadlineMs: 120_000, signal });
  return { url, state, at: performance.now() };
}

/** QEMU is there a moment before libvirt lets others speak to it. */
async function forwarded(host: PrivateHost, vmId: string, signal: AbortSignal): Promise<string> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await forwardGuestPort({ host, domain: vmId, signal });
    } catch (error) {
      if (attempt === 100 || signal.aborted) throw error;
      await sleep(50, undefined, { signal });
    }
  }
}

/** Shows which ledger records the replica has, and claims that they are those of the restore point. */
export async function claimRecords(
  { report, signal }: Scene,
  { state, url }: Service,
  { bounds }: TakenPoint,
): Promise<void> {
  const found = state.verified;
  report.say(
    `GET ${url}/ -> {"verified":${found},"errors":${state.errors},"boot":${state.boot},"previousSum":"${state.previousSum}"}`,
  );
  report.claim(
    `its ledger is an unbroken chain of ${found} records (0 to ${found - 1}): none torn, none out of order`,
    state.errors === 0 && found > 0,
  );
  report.claim(
    `that is what the source had at that instant: ${bounds.atLeast} <= ${found} <= ${bounds.atMost}`,
    bounds.atLeast <= found && found <= bounds.atMost,
  );
  const known = bounds.atLeast - 1;
  const record = parseLedgerRecord(await getJson(`${url}/record/${known}`, { signal }));
  report.claim(
    `record ${known} has the checksum that the source told then, and each covers the one before`,
    record.sum === bounds.before.sum,
  );
}

/** Claims that a record which the source wrote after the restore point is not in the replica. */
export async function claimAbsent(
  { report, signal }: Scene,
  { url, state }: Service,
  seq: number,
): Promise<void> {
  // The replica goes on writing: a number beyond its chain may be taken again, by this boot.
  const record = await getJson(`${url}/record/${seq}`, { signal }).then(
    parseLedgerRecord,
    () => null,
  );
  report.claim(
    `record ${seq}, which the source wrote after that instant, is not there`,
    seq >= state.verified && (record === null || record.boot === state.boot),
  );
}
