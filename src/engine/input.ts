/** Reads the journaled inputs of operations. They are ours, but an older version may have written them. */
import { UnderstudyError } from '../domain/error.ts';
import type { Json } from '../domain/operation/operation.ts';
import type { SourceFence } from '../domain/replica/replica.ts';

export function textIn(input: Json, name: string): string {
  const value = field(input, name);
  if (typeof value !== 'string') throw malformed(name);
  return value;
}

export function textOrNullIn(input: Json, name: string): string | null {
  return field(input, name) === null ? null : textIn(input, name);
}

export function textsIn(input: Json, name: string): readonly string[] {
  const value = field(input, name);
  if (!Array.isArray(value)) throw malformed(name);
  return value.map((item: Json) => {
    if (typeof item !== 'string') throw malformed(name);
    return item;
  });
}

/** Null where it is null, or an older version did not know of it. */
export function optionalTextIn<T>(input: Json, name: string, parse: (text: string) => T): T | null {
  const value = field(input, name) ?? null;
  if (value === null) return null;
  if (typeof value !== 'string') throw malformed(name);
  return parse(value);
}

export function flagIn(input: Json, name: string): boolean {
  const value = field(input, name);
  if (typeof value !== 'boolean') throw malformed(name);
  return value;
}

/** Null where nothing was said, or an older version did not know of it. */
export function flagOrNullIn(input: Json, name: string): boolean | null {
  return (field(input, name) ?? null) === null ? null : flagIn(input, name);
}

export function numberIn(input: Json, name: string): number {
  const value = field(input, name);
  if (typeof value !== 'number') throw malformed(name);
  return value;
}

function field(input: Json, name: string): Json | undefined {
  if (input === null || typeof input !== 'object' || Array.isArray(input)) throw malformed(name);
  return (input as { readonly [key: string]: Json })[name];
}

function malformed(name: string): UnderstudyError {
  return new UnderstudyError('invalid-request', { reason: `the operation's input lacks ${name}` });
}

export function fenceIn(input: Json): SourceFence {
  const value = textIn(input, 'fence');
  const fence = FENCES.find((candidate) => candidate === value);
  if (fence === undefined) throw malformed('fence');
  return fence;
}

const FENCES: readonly SourceFence[] = ['none', 'nics', 'shutdown', 'power-off'];
