import { z } from 'zod';
import {
  addressSchema,
  byteCountSchema,
  folderSchema,
  idSchema,
  instantSchema,
  nameSchema,
  powerSchema,
} from './values.ts';

export const addHostSchema = z.strictObject({
  name: nameSchema,
  kind: z.enum(['libvirt', 'simulated']).default('libvirt'),
  /** For libvirt: a connection URI such as `qemu:///system`. */
  address: addressSchema,
  /** Where replicas live on this host. */
  storageFolder: folderSchema,
  /** Where old blocks of frozen VMs are kept; by default a folder that the server chooses under the storage folder. */
  scratchFolder: folderSchema.nullable().default(null),
  /** How many transfers from or to this host may run at once. */
  transferSlots: z.int().min(1).max(64).default(2),
  /** How many test VMs may run on it at once. */
  testSlots: z.int().min(1).max(64).default(2),
  /** What replication leaves free in the storage folder's file system; null: the smaller of 5 % and 1 GiB. */
  storageReserveBytes: byteCountSchema.nullable().default(null),
});

export const hostSchema = z.strictObject({
  id: idSchema,
  name: z.string(),
  kind: z.enum(['libvirt', 'simulated']),
  address: z.string(),
  storageFolder: z.string(),
  scratchFolder: z.string(),
  transferSlots: z.int(),
  testSlots: z.int(),
  /** What replication leaves free there; null: the smaller of 5 % and 1 GiB. */
  storageReserveBytes: byteCountSchema.nullable(),
  /** Where VMs that failed over are kept from starting; null: nobody asked for that. */
  startGuard: z.strictObject({ hooksFolder: folderSchema }).nullable(),
  addedAt: instantSchema,
});

/** What a host says of itself when asked. */
export const hostDescriptionSchema = z.strictObject({
  hypervisorVersion: z.string(),
  emulatorVersion: z.string(),
  /** Proved by a test boot: which acceleration guests get. */
  acceleration: z.enum(['hardware', 'software', 'unproved']),
  cpuCount: z.int(),
  memoryBytes: byteCountSchema,
  networks: z.array(z.string()),
  storageFreeBytes: byteCountSchema.nullable(),
});

export const hostDetailSchema = z.strictObject({
  ...hostSchema.shape,
  /** Null when the host does not answer. */
  description: hostDescriptionSchema.nullable(),
  /** Why there is no description. */
  unreachableBecause: z.string().nullable(),
});

export const vmSchema = z.strictObject({ id: idSchema, name: z.string(), power: powerSchema });

export type AddHostRequest = z.input<typeof addHostSchema>;
export type HostAnswer = z.output<typeof hostSchema>;
export type HostDetailAnswer = z.output<typeof hostDetailSchema>;
export type VmAnswer = z.output<typeof vmSchema>;
