/**
 * Names come from hypervisors and may hold anything: an escape sequence in a VM's name must not steer the
 * terminal of whoever lists it, and a text-direction mark must not make one name look like another.
 */

// Controls (C0, DEL, C1), line and paragraph separators, direction marks, zero-width and lone surrogates.
const UNSAFE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for.
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]|\p{Surrogate}/gu;

const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** One line that a terminal shows as it is. */
export function escapeText(text: string): string {
  return text.replace(UNSAFE, (character) => SHORT[character] ?? codeEscape(character));
}

/** Like `escapeText`, but line feeds stay: for texts that we broke into lines ourselves. */
export function escapeLines(text: string): string {
  return text.split('\n').map(escapeText).join('\n');
}

/** JSON for a terminal or a file: the same value, with what JSON.stringify lets through escaped too. */
export function safeJson(value: unknown, indent?: number): string {
  const text = JSON.stringify(value, null, indent);
  // Line feeds outside strings are indentation; inside strings JSON has escaped them already.
  return text.replace(UNSAFE, (character) =>
    character === '\n' ? character : jsonEscape(character),
  );
}

function codeEscape(character: string): string {
  const code = character.charCodeAt(0);
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : jsonEscape(character);
}

function jsonEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
