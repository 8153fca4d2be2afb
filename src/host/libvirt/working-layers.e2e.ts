/**
 * Working layers on a real libvirtd of its own, with QEMU as its own user. Not among the unit tests: it takes minutes.
 *
 *   node --test src/host/libvirt/working-layers.e2e.ts
 */
import { productionDisksSuite } from '../../conformance/production-disks.ts';
import { missingForFreezing } from './testing/freeze-rig.ts';
import { openLayersRig } from './testing/layers-rig.ts';

const skip = missingForFreezing() ?? false;

productionDisksSuite('libvirt', openLayersRig, { skip });
