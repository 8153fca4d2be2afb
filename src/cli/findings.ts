import type { PreflightFindingAnswer } from '../contract/job.ts';
import { escapeText } from './escape.ts';

/** `blocks: "web-01" disk vdb: …` */
export function escapedFinding({
  severity,
  vmName,
  element,
  message,
}: PreflightFindingAnswer): string {
  const word = severity === 'blocks' ? 'blocks' : 'warning';
  return escapeText(`${word}: ${JSON.stringify(vmName)} ${element}: ${message}`);
}
