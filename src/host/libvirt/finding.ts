import type { PreflightFinding } from '../../domain/vm/preflight.ts';

export function blocks(element: string, message: string): PreflightFinding {
  return { severity: 'blocks', element, message };
}

export function warns(element: string, message: string): PreflightFinding {
  return { severity: 'warns', element, message };
}
