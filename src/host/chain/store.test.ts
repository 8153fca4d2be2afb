import { replicaStoreSuite } from '../../conformance/replica-store.ts';
import { createChainHarness, needsQemu } from './testing/chain-harness.ts';

replicaStoreSuite('folders of qcow2 layers', createChainHarness, { skip: needsQemu });
