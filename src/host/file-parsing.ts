/** Pieces of the file schemas. Files may be edited by hand, so nothing in them is believed unparsed. */
import { open } from 'node:fs/promises';
import { z } from 'zod';
import { UnderstudyError } from '../domain/error.ts';
import * as ids from '../domain/ids.ts';
import { instant } from '../domain/instant.ts';
import type { VmDescription } from '../domain/vm/vm.ts';

/** Records are kilobytes, the largest little more than a VM's definition. */
const FILE_BYTES_MAX = 16 * 1024 * 1024;

/** Turns a parser that throws into a schema. */
function parsed<Input, Output>(input: z.ZodType<Input>, parse: (value: Input) => Output) {
  return input.transform((value, context): Output => {
    try {
      return parse(value);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      context.issues.push({ code: 'custom', message, input: value });
      return z.NEVER;
    }
  });
}

export const byteCount = z.int().nonnegative();
export const count = z.int().nonnegative();
export const moment = parsed(z.number(), instant);
export const replicaIdText = parsed(z.string(), ids.replicaId);
export const pointIdText = parsed(z.string(), ids.pointId);
export const branchIdText = parsed(z.string(), ids.branchId);
export const layerIdText = parsed(z.string(), ids.layerId);
export const diskKeyText = parsed(z.string(), ids.diskKey);
export const markNameText = parsed(z.string(), ids.markName);
export const vmIdText = parsed(z.string(), ids.vmId);
export const hashText = z.string().regex(/^[0-9a-f]{64}$/);
export const sidecarNames = z.array(z.enum(['nvram', 'tpm'])).readonly();

export const fileIdentity = z
  .strictObject({
    sizeBytes: byteCount,
    mtimeNs: z.string().regex(/^-?\d{1,20}$/),
    inode: z.string().regex(/^\d{1,20}$/),
  })
  .readonly();

export const vmDescription: z.ZodType<VmDescription> = z.strictObject({
  id: vmIdText,
  name: z.string(),
  power: z.enum(['running', 'paused', 'off', 'unknown']),
  memoryBytes: byteCount,
  cpuCount: count,
  disks: z.array(
    z.strictObject({
      key: diskKeyText,
      sizeBytes: byteCount,
      path: z.string(),
      format: z.enum(['qcow2', 'raw']),
      tracksChanges: z.boolean(),
      unsupportedBecause: z.string().nullable(),
    }),
  ),
  nics: z.array(
    z.strictObject({ mac: z.string().nullable(), network: z.string(), isConnected: z.boolean() }),
  ),
  configuration: z.strictObject({
    format: z.enum(['libvirt-domain-xml', 'hyperv-json', 'simulated']),
    text: z.string(),
  }),
  hasSavedState: z.boolean(),
});

/** The JSON in the file, or null when there is no such file. Throws `invalid-file`, and what the file system does. */
export async function readJson(path: string): Promise<unknown> {
  const text = await readText(path);
  if (text === null) return null;
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UnderstudyError('invalid-file', { path, reason }, error);
  }
  if (content === null) throw invalidFile(path, 'it says null');
  return content;
}

async function readText(path: string): Promise<string | null> {
  try {
    await using handle = await open(path, 'r');
    const { size } = await handle.stat();
    if (size > FILE_BYTES_MAX) throw invalidFile(path, `it has ${size} bytes`);
    return await handle.readFile('utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    if (code === 'EISDIR') throw invalidFile(path, 'it is a folder');
    throw error;
  }
}

/** As of a program of ours that outlives us. */
export const processIdentity = z.object({ pid: z.int().positive(), startTime: z.string() });

/** Parses the content of the file at `path`. Throws `invalid-file`. */
export function parseFile<Output>(
  schema: z.ZodType<Output>,
  content: unknown,
  path: string,
): Output {
  const result = schema.safeParse(content);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const where = issue === undefined || issue.path.length === 0 ? '' : `${issue.path.join('.')}: `;
  throw invalidFile(path, `${where}${issue?.message ?? 'it has another form'}`);
}

export function invalidFile(path: string, reason: string): UnderstudyError {
  return new UnderstudyError('invalid-file', { path, reason });
}

/** Whether two of the values are the same. */
export function hasRepetition(values: readonly string[]): boolean {
  return new Set(values).size < values.length;
}
