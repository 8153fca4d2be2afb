import type { Clock } from '../ports/clock.ts';
import type { OperationContext } from '../ports/durable.ts';

/** What a hypervisor says of a merge, as progress: the rate is that since this attempt began. */
export function mergeProgress(
  context: OperationContext,
  clock: Pick<Clock, 'monotonicMs'>,
  step: string,
): (doneBytes: number, totalBytes: number) => void {
  let began: { readonly atMs: number; readonly doneBytes: number } | null = null;
  return (doneBytes, totalBytes) => {
    const atMs = clock.monotonicMs();
    began ??= { atMs, doneBytes };
    const bytesPerMs = (doneBytes - began.doneBytes) / Math.max(1, atMs - began.atMs);
    const remainingMs = bytesPerMs > 0 ? Math.round((totalBytes - doneBytes) / bytesPerMs) : null;
    const bytesPerSecond = Math.round(bytesPerMs * 1000);
    context.progress({ step, doneBytes, totalBytes, bytesPerSecond, remainingMs });
  };
}
