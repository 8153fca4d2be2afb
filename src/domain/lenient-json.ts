/**
 * JSON that a replica's folder carries for a controller that lost its own records: written by one version and read by another,
 * so what is missing or odd counts as not known, never as an error.
 */
import { type Instant, instant } from './instant.ts';
import type { Json } from './operation/operation.ts';

export type Fields = { readonly [key: string]: Json };

export function objectOf(value: Json | undefined): Fields {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return {};
  return value as Fields;
}

export function listOf(value: Json | undefined): readonly Json[] {
  return Array.isArray(value) ? value : [];
}

export function textOf(value: Json | undefined): string | null {
  return typeof value === 'string' ? value : null;
}

export function countOf(value: Json | undefined): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null;
}

export function instantOf(value: Json | undefined): Instant | null {
  const count = countOf(value);
  return count === null ? null : instant(count);
}

/** Null where it is no text, or the parser throws. */
export function parsed<Id>(parse: (text: string) => Id, value: Json | undefined): Id | null {
  try {
    return typeof value === 'string' ? parse(value) : null;
  } catch {
    return null;
  }
}

/** One of the words, else the given one. */
export function wordOf<Word extends string, Else>(
  words: readonly Word[],
  value: Json | undefined,
  otherwise: Else,
): Word | Else {
  return words.find((word) => word === value) ?? otherwise;
}
