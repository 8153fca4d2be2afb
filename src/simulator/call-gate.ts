/**
 * The door that every call of a controller into the world goes through: it is logged, takes its time, fails
 * when its host cannot be reached, and meets the faults planned for it. A controller that died can do
 * nothing any more, not even with what it had in flight; a world outlives its controllers.
 */
import { UnderstudyError } from '../domain/error.ts';
import type { CallOptions } from '../ports/call.ts';
import type { VirtualClock } from './clock.ts';
import {
  CrashSignal,
  type Fault,
  type FaultInjector,
  faultDelayMs,
  faultError,
  type HostTrouble,
  hostTroubleOf,
} from './faults.ts';
import type { SimulatedHost } from './host.ts';

export type PortName =
  | 'hypervisor'
  | 'pointSource'
  | 'store'
  | 'productionDisks'
  | 'testBench'
  | 'startGuard'
  | 'mover';

/** What a dead controller's calls do: reject with CrashSignal, or never come back. */
export type CrashStyle = 'throw' | 'silence';

export type LogLine = {
  readonly atMs: number;
  readonly controller: string;
  readonly operation: string;
  /** `done`, or the code of the error, or the fault. */
  readonly outcome: string;
};

/** One life of a controller. */
export type Controller = {
  readonly name: string;
  readonly crashStyle: CrashStyle;
  isDead: boolean;
  /** What it has under way; aborted when it dies. */
  readonly inFlight: Set<AbortController>;
  readonly onCrash: (signal: CrashSignal) => void;
};

/** Marks a moment inside a call at which faults can strike. */
export type Passing = {
  readonly signal: AbortSignal;
  moment(name: string): Promise<void>;
  /** Time that the call takes on its way. */
  spend(ms: number): Promise<void>;
};

export type CallGate = {
  call<T>(to: Call, options: CallOptions, body: (passing: Passing) => T | Promise<T>): Promise<T>;
  /** A pause of the controller itself. */
  sleep(ms: number, options: CallOptions): Promise<void>;
};

export type Call = {
  readonly host: SimulatedHost;
  readonly port: PortName;
  readonly method: string;
};

/** Milliseconds of virtual time, as measured on real hosts; all others 5. */
const COST_MS: Readonly<Record<string, number>> = {
  'hypervisor.start': 500,
  'hypervisor.powerOff': 400,
  'hypervisor.defineReplica': 20,
  'hypervisor.placeDisks': 20,
  'pointSource.freeze': 40,
  'store.sealPartial': 50,
  'store.createBranch': 10,
  'mover.transfer': 10,
  // One system call each, or a few for each disk.
  'store.room': 0,
  'hypervisor.allocatedBytes': 0,
};
const COMMON_COST_MS = 5;

export function createCallGate(world: {
  readonly clock: VirtualClock;
  readonly faults: FaultInjector;
  /** Null: nobody reads it. */
  readonly log: LogLine[] | null;
  readonly controller: Controller;
  readonly strike: (host: SimulatedHost, trouble: HostTrouble) => void;
}): CallGate {
  const { clock, faults, controller } = world;

  function record(operation: string, outcome: string): void {
    const { name } = controller;
    world.log?.push({ atMs: clock.monotonicMs(), controller: name, operation, outcome });
  }

  function die(operation: string): Promise<never> {
    const crash = new CrashSignal(operation);
    kill(controller, crash);
    return dead(crash);
  }

  function dead(crash: CrashSignal): Promise<never> {
    return controller.crashStyle === 'throw' ? Promise.reject(crash) : new Promise(() => {});
  }

  async function assertAlive(operation: string): Promise<void> {
    if (controller.isDead) await dead(new CrashSignal(operation));
  }

  /** Whatever becomes of the host, the call is not answered. */
  function befall(host: SimulatedHost, fault: Fault | null, moment: 'before' | 'after'): void {
    const trouble = hostTroubleOf(fault, moment);
    if (trouble === null) return;
    world.strike(host, trouble);
    throw new UnderstudyError('host-unreachable', {
      host: host.id,
      reason: 'the connection broke',
    });
  }

  /** What happens before the effect. */
  async function meet(operation: string, fault: Fault | null, signal: AbortSignal): Promise<void> {
    if (fault?.kind === 'crash-before') await die(operation);
    if (fault?.kind === 'hang') await untilAborted(signal);
    if (fault?.kind === 'slow') await clock.sleep(faultDelayMs(fault), { signal });
    if (fault?.kind === 'fail') throw faultError(operation, fault);
    await assertAlive(operation);
  }

  async function answer(operation: string, fault: Fault | null): Promise<void> {
    if (fault?.kind === 'crash-after') await die(operation);
    if (fault?.kind === 'fail-after') throw faultError(operation, fault);
    await assertAlive(operation);
  }

  async function pass<T>(
    { host, port, method }: Call,
    operation: string,
    signal: AbortSignal,
    body: (passing: Passing) => T | Promise<T>,
  ): Promise<T> {
    await assertAlive(operation);
    if (signal.aborted) throw new UnderstudyError('cancelled');
    const fault = faults.take(operation);
    await meet(operation, fault, signal);
    befall(host, fault, 'before');
    await clock.sleep(COST_MS[`${port}.${method}`] ?? COMMON_COST_MS, { signal });
    await assertAlive(operation);
    requireReachable(host, port);
    const result = await body({
      signal,
      moment: async (name) => {
        const inner = `${operation}:${name}`;
        const innerFault = faults.take(inner);
        await meet(inner, innerFault, signal);
        befall(host, innerFault, 'before');
        befall(host, innerFault, 'after');
        await answer(inner, innerFault);
      },
      spend: async (ms) => {
        await clock.sleep(ms, { signal });
        await assertAlive(operation);
        requireReachable(host, port);
      },
    });
    befall(host, fault, 'after');
    await answer(operation, fault);
    // Answers travel: nobody outside ever holds a part of the world.
    return structuredClone(result);
  }

  /** Work that ends with its controller, whatever its caller's signal says. */
  async function whileAlive<T>(
    operation: string,
    { signal }: CallOptions,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const stop = new AbortController();
    const onAbort = () => stop.abort();
    if (signal.aborted) stop.abort();
    signal.addEventListener('abort', onAbort, { once: true });
    controller.inFlight.add(stop);
    try {
      return await work(stop.signal);
    } catch (error) {
      if (!controller.isDead || error instanceof CrashSignal) throw error;
      return dead(new CrashSignal(operation));
    } finally {
      controller.inFlight.delete(stop);
      signal.removeEventListener('abort', onAbort);
    }
  }

  return {
    sleep: (ms, options) =>
      whileAlive('sleep', options, async (signal) => {
        await assertAlive('sleep');
        await clock.sleep(ms, { signal });
        await assertAlive('sleep');
      }),
    call: async (to, options, body) => {
      const operation = `${to.host.id}.${to.port}.${to.method}`;
      try {
        const result = await whileAlive(operation, options, (signal) =>
          pass(to, operation, signal, body),
        );
        record(operation, 'done');
        return result;
      } catch (error) {
        record(operation, outcomeOf(error));
        throw error;
      }
    },
  };
}

/** Ends a controller's life: what it has under way stops where it is. */
export function kill(controller: Controller, crash: CrashSignal): void {
  if (controller.isDead) return;
  controller.isDead = true;
  for (const stop of [...controller.inFlight]) stop.abort();
  controller.onCrash(crash);
}

/** A mover sees a lost connection where others see a host that does not answer. */
function requireReachable(host: SimulatedHost, port: PortName): void {
  if (!host.isUnreachable) return;
  const reason = 'no route to host';
  if (port !== 'mover') throw new UnderstudyError('host-unreachable', { host: host.id, reason });
  throw new UnderstudyError('connection-lost', { endpoint: host.id, reason });
}

function outcomeOf(error: unknown): string {
  if (error instanceof CrashSignal) return 'crash';
  return error instanceof UnderstudyError ? error.code : `bug: ${String(error)}`;
}

/** Never resolves; rejects with `cancelled` when the signal is aborted. */
export function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const onAbort = () => reject(new UnderstudyError('cancelled'));
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
}
