/** Pieces of the file schemas. Files may be edited by hand, so nothing in them is believed unparsed. */
import { z } from 'zod';
import { UnderstudyError } from '../../domain/error.ts';
import * as ids from '../../domain/ids.ts';
import { instant } from '../../domain/instant.ts';

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
