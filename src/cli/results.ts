/** What an operation came to, for people: a line per field and per item of a list. Names end in their unit. */
import type { OperationAnswer } from '../contract/operation.ts';
import { formatBytes, formatMs, formatSeconds, formatTime, yesNo } from './format.ts';

type Fields = Readonly<Record<string, unknown>>;

export function resultLines({ kind, result }: Pick<OperationAnswer, 'kind' | 'result'>) {
  if (!isFields(result)) return [JSON.stringify(result)];
  if (kind === 'rescan') return rescanLines(result);
  if (kind === 'verify') return verifyLines(result);
  return Object.entries(result).flatMap(([name, value]) => {
    const items = itemsOf(value);
    return items.length === 0
      ? [`${wordsOf(name)}: ${figure(name, value)}`]
      : items.map((item) => `${wordsOf(name)}: ${figures(item)}`);
  });
}

/** What a rescan found and did not mend; empty for whatever else. */
export function findingsLeft({ kind, result }: Pick<OperationAnswer, 'kind' | 'result'>) {
  if (kind !== 'rescan' || !isFields(result)) return [];
  const { left } = result;
  return itemsOf(left);
}

/** `layers/ly-1/vda.qcow2: it was written to after it was sealed; doubtful: pt-4f2a; repair: rehash-layer` */
export function findingLine(finding: Fields): string {
  const { object, message, pointIds, repair } = finding;
  const doubtful =
    Array.isArray(pointIds) && pointIds.length > 0 ? pointIds.join(', ') : 'no point';
  const text = String(message).replace(/\.$/, '');
  return `${object}: ${text}; in doubt: ${doubtful}; repair: ${repair}`;
}

function rescanLines({ findings, left, isRepaired }: Fields): readonly string[] {
  const found = itemsOf(findings);
  if (found.length === 0) return ['nothing differs'];
  const lines = found.map((finding) => `found: ${findingLine(finding)}`);
  if (isRepaired !== true) return lines;
  const rest = itemsOf(left).map((finding) => `left: ${findingLine(finding)}`);
  return [...lines, ...(rest.length === 0 ? ['all of it is repaired'] : rest)];
}

function verifyLines({ points }: Fields): readonly string[] {
  return itemsOf(points).map(({ pointId, disks, isSound }) => {
    const read = itemsOf(disks).map(
      ({ key, checkedBytes, wrongBlockCount }) =>
        `${key} ${formatBytes(Number(checkedBytes))} read, ${wrongBlockCount} blocks wrong`,
    );
    return `${pointId}: ${isSound === true ? 'sound' : 'NOT SOUND'} (${read.join('; ')})`;
  });
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function itemsOf(value: unknown): readonly Fields[] {
  return Array.isArray(value) && value.every(isFields) ? value : [];
}

function figures(record: Fields): string {
  return Object.entries(record)
    .map(([name, value]) => `${wordsOf(name)} ${figure(name, value)}`)
    .join(', ');
}

/** `runningAfterMs` is `running after`, `isConnected` is `connected`. */
function wordsOf(name: string): string {
  const words = name.replace(/(?:Ms|Bytes|Seconds|Id)$/, '').replace(/^is(?=[A-Z])/, '');
  return words.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).trim();
}

function figure(name: string, value: unknown): string {
  if (value === null) return '–';
  if (typeof value === 'boolean') return yesNo(value);
  if (typeof value === 'number') return number(name, value);
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function number(name: string, value: number): string {
  if (name.endsWith('Ms')) return formatMs(value);
  if (name.endsWith('Bytes')) return formatBytes(value);
  if (name.endsWith('Seconds')) return formatSeconds(value);
  if (/(?:At|Until)$/.test(name)) return formatTime(new Date(value).toISOString());
  return String(value);
}
