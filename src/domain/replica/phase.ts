/**
 * The phases of a replica as a table. `apply` is the only way from one phase to another; the diagram in
 * docs/states.md, `allowedOperations` in the API and the hints of the program all read this table.
 */
import { UnderstudyError } from '../error.ts';
import type { ReplicaId } from '../ids.ts';

export const PHASES = {
  Pending: 'protected, no restore point yet',
  Ready: 'at least one restore point, chain sound',
  Failover: 'the replica took over, for real or as a trial',
  ReadyToSwitch: 'failback has copied the bulk; the replica still serves',
  Failback: 'production runs the failed-back state; a decision is pending',
  Permanent: 'an ordinary VM now',
  Removed: 'the record or the replica is gone',
} as const;

export type Phase = keyof typeof PHASES;

/** What happened, in the past tense. */
export type PhaseEvent =
  | 'point-sealed'
  | 'failover-started'
  | 'branch-moved'
  | 'failover-undone'
  | 'failover-made-permanent'
  | 'failback-presynced'
  | 'failback-cancelled'
  | 'switched-over'
  | 'failback-committed'
  | 'failback-undone'
  | 'removed';

type Row = Partial<Record<PhaseEvent, Phase>>;

export const TRANSITIONS = {
  Pending: { 'point-sealed': 'Ready', removed: 'Removed' },
  Ready: { 'point-sealed': 'Ready', 'failover-started': 'Failover', removed: 'Removed' },
  Failover: {
    'branch-moved': 'Failover',
    'failover-undone': 'Ready',
    'failover-made-permanent': 'Permanent',
    'failback-presynced': 'ReadyToSwitch',
  },
  ReadyToSwitch: { 'failback-cancelled': 'Failover', 'switched-over': 'Failback' },
  Failback: { 'failback-committed': 'Ready', 'failback-undone': 'Failover' },
  Permanent: {},
  Removed: {},
} as const satisfies Record<Phase, Row>;

/** What a person or the scheduler can ask for. */
export type ReplicaOperation =
  | 'replicate'
  | 'failover'
  | 'planned-failover'
  | 'undo-failover'
  | 'permanent-failover'
  | 'failback'
  | 'catch-up-failback'
  | 'switch-over'
  | 'cancel-failback'
  | 'commit-failback'
  | 'undo-failback'
  | 'test-failover'
  | 'bisect'
  | 'verify'
  | 'rescan'
  | 'remove'
  | 'delete'
  | 'hop'
  | 'export'
  | 'keep-archive'
  | 'delete-archive'
  | 'fence'
  | 'unfence';

/** The phases in which each operation may begin. */
export const ALLOWED_IN = {
  replicate: ['Pending', 'Ready'],
  failover: ['Ready'],
  'planned-failover': ['Pending', 'Ready'],
  'undo-failover': ['Failover'],
  'permanent-failover': ['Failover'],
  failback: ['Failover'],
  'catch-up-failback': ['ReadyToSwitch'],
  'switch-over': ['ReadyToSwitch'],
  'cancel-failback': ['ReadyToSwitch'],
  'commit-failback': ['Failback'],
  'undo-failback': ['Failback'],
  'test-failover': ['Ready', 'Failover', 'ReadyToSwitch', 'Failback'],
  bisect: ['Ready', 'Failover', 'ReadyToSwitch', 'Failback'],
  verify: ['Ready', 'Failover', 'ReadyToSwitch', 'Failback'],
  rescan: ['Pending', 'Ready', 'Failover', 'ReadyToSwitch', 'Failback'],
  remove: ['Pending', 'Ready'],
  delete: ['Pending', 'Ready'],
  hop: ['Failover'],
  export: ['Ready', 'Failover', 'ReadyToSwitch', 'Failback'],
  'keep-archive': ['Ready', 'Failover', 'ReadyToSwitch', 'Failback'],
  'delete-archive': ['Ready', 'Failover', 'ReadyToSwitch', 'Failback'],
  fence: ['Failover'],
  unfence: ['Failover'],
} as const satisfies Record<ReplicaOperation, readonly Phase[]>;

export function allowedOperations(phase: Phase): readonly ReplicaOperation[] {
  const all = Object.keys(ALLOWED_IN) as ReplicaOperation[];
  return all.filter((operation) => (ALLOWED_IN[operation] as readonly Phase[]).includes(phase));
}

/** What the program calls an operation, where that differs; null: nobody asks for it by hand. */
const COMMANDS: Partial<Record<ReplicaOperation, string | null>> = {
  replicate: 'job run',
  'catch-up-failback': null,
  'test-failover': 'test run',
  verify: 'replica verify',
  rescan: 'replica rescan',
  remove: 'replica remove',
  delete: 'replica delete',
  export: 'point export',
  'keep-archive': 'archive keep',
  'delete-archive': 'archive delete',
};

/** The commands that may begin something in this phase. */
export function allowedCommands(phase: Phase): readonly string[] {
  const commands = allowedOperations(phase).map((operation) => {
    const command = COMMANDS[operation];
    return command === undefined ? operation : command;
  });
  return commands.filter((command) => command !== null);
}

type Phased = { readonly id: ReplicaId; readonly name?: string; readonly phase: Phase };

/** Throws `not-allowed-in-phase`, naming the phase, the operation and what is allowed instead. */
export function requireAllowed(replica: Phased, operation: ReplicaOperation): void {
  if (allowedOperations(replica.phase).includes(operation)) return;
  throw new UnderstudyError('not-allowed-in-phase', {
    replica: replica.name ?? replica.id,
    phase: replica.phase,
    operation: COMMANDS[operation] ?? operation,
    allowed: allowedCommands(replica.phase).join(', ') || 'nothing',
  });
}

/** The replica after the event. An event that its phase does not know is a programming error. */
export function apply<R extends Phased>(replica: R, event: PhaseEvent): R {
  const row: Row = TRANSITIONS[replica.phase];
  const next = row[event];
  if (next === undefined) {
    throw new UnderstudyError('not-allowed-in-phase', {
      replica: replica.id,
      phase: replica.phase,
      operation: event,
      allowed: Object.keys(row).join(', ') || 'nothing',
    });
  }
  return { ...replica, phase: next };
}
