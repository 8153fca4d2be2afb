import { readFile } from 'node:fs/promises';

/**
 * Names the time since the kernel started (random(4)). What was written without a flush is safe from the death of any
 * process, for the kernel holds it, and lost with the kernel.
 */
export async function readBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}
