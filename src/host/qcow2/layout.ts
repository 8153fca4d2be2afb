/** What all images that we write ourselves have in common. QEMU: docs/interop/qcow2.txt. */
export const CLUSTER_BITS = 16;
export const CLUSTER_BYTES = 2 ** CLUSTER_BITS;
/** Of L1 tables, L2 tables and the refcount table. */
export const ENTRY_BYTES = 8;

/** Clusters with a place of their own. The header is the one before, the L1 table comes where a bitmap's tables end, if there is one. */
export const REFCOUNT_TABLE = 1;
export const REFCOUNT_BLOCK = 2;
export const FIRST_FREE = 3;

/** Two bytes each, as a power of two of bits. */
export const REFCOUNT_BITS_LOG2 = 4;
export const REFCOUNT_BYTES = 2;

/** Of one L2 table, which is one cluster. */
export const CLUSTERS_PER_TABLE = CLUSTER_BYTES / ENTRY_BYTES;

/** How many L2 tables a disk of this size can have, which is the length of its L1 table. */
export function tableCount(sizeBytes: number): number {
  return Math.max(1, Math.ceil(sizeBytes / (CLUSTERS_PER_TABLE * CLUSTER_BYTES)));
}

/** How many clusters that many bytes take. */
export function clustersOf(byteCount: number): number {
  return Math.ceil(byteCount / CLUSTER_BYTES);
}
