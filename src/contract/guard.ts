/** The start guard of a host: what keeps VMs that failed over from starting there. */
import { z } from 'zod';
import { folderSchema, idSchema, instantSchema } from './values.ts';

export const installGuardSchema = z.strictObject({
  /** Where libvirt looks for hooks: `/etc/libvirt/hooks` unless it was built otherwise. */
  hooksFolder: folderSchema.nullable().default(null),
});

export const heldVmSchema = z.strictObject({
  vmId: idSchema,
  /** Null where nobody knows the VM here. */
  vmName: z.string().nullable(),
  replicaId: idSchema,
  /** Null: another controller holds it. */
  replicaName: z.string().nullable(),
  epoch: z.int(),
  since: instantSchema,
  /** What whoever tries to start it is told. */
  reason: z.string(),
});

export const guardSchema = z.strictObject({
  hostId: idSchema,
  hostName: z.string(),
  /** Null: nobody asked for a guard. */
  hooksFolder: z.string().nullable(),
  /** `active` and `dormant` are proved by a start that the host must refuse; `unproved`: the host does not answer. */
  state: z.enum(['absent', 'dormant', 'active', 'unproved']),
  /** What was seen, and what to do. */
  because: z.string(),
  held: z.array(heldVmSchema),
});

export type GuardAnswer = z.output<typeof guardSchema>;
