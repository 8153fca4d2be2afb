/** Sizes and offsets are plain numbers of bytes: 2^53 bytes is eight pebibytes, beyond any disk we handle. */

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;
export const TIB = 1024 * GIB;

/** The unit of hashing, comparing and transfer. Equal to the default cluster of qcow2 and its dirty bitmaps. */
export const BLOCK_BYTES = 64 * KIB;

export function blockCount(sizeBytes: number): number {
  return Math.ceil(sizeBytes / BLOCK_BYTES);
}

export function isByteCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** Three significant figures in binary units: `1.50 GiB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${value} B` : `${value.toPrecision(value >= 999.5 ? 4 : 3)} ${units[unit]}`;
}
