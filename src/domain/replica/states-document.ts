/** docs/states.md, written from the transition table so that it cannot disagree with it. */
import { ALLOWED_IN, PHASES, type Phase, type PhaseEvent, TRANSITIONS } from './phase.ts';

type Edge = { readonly from: Phase; readonly event: PhaseEvent; readonly to: Phase };

export function statesDocument(): string {
  const edges = allEdges();
  return [
    '# Phases of a replica',
    '',
    'Generated from `src/domain/replica/phase.ts` by `npm run states`. Do not edit.',
    '',
    '```mermaid',
    'stateDiagram-v2',
    '  [*] --> Pending',
    ...edges.map(({ from, event, to }) => `  ${from} --> ${to}: ${event}`),
    '```',
    '',
    '| phase | meaning | operations that may begin |',
    '| --- | --- | --- |',
    ...phases().map((phase) => `| \`${phase}\` | ${PHASES[phase]} | ${operationsIn(phase)} |`),
    '',
    '| from | event | to |',
    '| --- | --- | --- |',
    ...edges.map(({ from, event, to }) => `| ${from} | ${event} | ${to} |`),
    '',
  ].join('\n');
}

function phases(): readonly Phase[] {
  return Object.keys(PHASES) as Phase[];
}

function allEdges(): readonly Edge[] {
  return phases().flatMap((from) => {
    const row: Partial<Record<PhaseEvent, Phase>> = TRANSITIONS[from];
    return (Object.entries(row) as [PhaseEvent, Phase][]).map(([event, to]) => ({
      from,
      event,
      to,
    }));
  });
}

function operationsIn(phase: Phase): string {
  const allowed = Object.entries(ALLOWED_IN).filter(([, where]) =>
    (where as readonly Phase[]).includes(phase),
  );
  return allowed.map(([operation]) => operation).join(', ') || '–';
}
