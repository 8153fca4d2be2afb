import type { Durable, OperationDefinition } from '../ports/durable.ts';
import { deleteArchiveDefinition, keepArchiveDefinition } from './archives.ts';
import { bisectDefinition } from './bisect.ts';
import { catchUpFailbackDefinition } from './catch-up-failback.ts';
import { changeJobDefinition } from './change-job.ts';
import { commitFailbackDefinition } from './commit-failback.ts';
import type { EnginePorts } from './engine-ports.ts';
import { exportDefinition } from './export.ts';
import { failbackDefinition } from './failback.ts';
import { failoverDefinition } from './failover.ts';
import { fenceDefinition, unfenceDefinition } from './fence-after.ts';
import { hopDefinition } from './hop.ts';
import { cancelFailbackDefinition, undoFailbackDefinition } from './leave-failback.ts';
import { permanentFailoverDefinition } from './permanent-failover.ts';
import { plannedFailoverDefinition } from './planned-failover.ts';
import { deleteReplicaDefinition, removeReplicaDefinition } from './remove-replica.ts';
import { replicateDefinition } from './replicate.ts';
import { rescanDefinition } from './rescan.ts';
import { sweepDefinition } from './sweeper.ts';
import { switchOverDefinition } from './switch-over.ts';
import { tellingDrift } from './tell-drift.ts';
import { testFailoverDefinition } from './test-failover.ts';
import { undoFailoverDefinition } from './undo-failover.ts';
import { verifyDefinition } from './verify.ts';

/** Every kind of operation: what a durable engine must know before it resumes. */
export function operationDefinitions(
  ports: EnginePorts,
  durable: Pick<Durable, 'operation' | 'operations'>,
): readonly OperationDefinition[] {
  return [
    replicateDefinition(ports),
    failoverDefinition(ports),
    plannedFailoverDefinition(ports),
    undoFailoverDefinition({ ...ports, durable }),
    permanentFailoverDefinition(ports),
    failbackDefinition(ports),
    catchUpFailbackDefinition(ports),
    switchOverDefinition(ports),
    cancelFailbackDefinition(ports),
    commitFailbackDefinition(ports),
    undoFailbackDefinition(ports),
    removeReplicaDefinition(ports),
    deleteReplicaDefinition(ports),
    rescanDefinition(ports),
    verifyDefinition(ports),
    testFailoverDefinition(ports),
    bisectDefinition(ports),
    sweepDefinition(ports, durable),
    hopDefinition(ports),
    exportDefinition(ports),
    keepArchiveDefinition(ports),
    deleteArchiveDefinition(ports),
    fenceDefinition(ports),
    unfenceDefinition({ ...ports, durable }),
    changeJobDefinition(ports),
  ].map(tellingDrift);
}
