import type { FailoverPreviewAnswer } from '../contract/failover.ts';
import type { ParsedBody } from '../contract/routes.ts';
import { formatInstant } from '../domain/instant.ts';
import type { SourceFence } from '../domain/replica/replica.ts';
import type { Controller, FailoverOrder, FailoverPreview } from '../ports/controller.ts';
import type { Handlers } from './handlers.ts';
import { operationAnswer } from './operations.ts';
import { pointSelector } from './point-selector.ts';

type Verbs =
  | 'previewFailover'
  | 'failover'
  | 'plannedFailover'
  | 'undoFailover'
  | 'permanentFailover'
  | 'previewHop'
  | 'hop'
  | 'fenceSource'
  | 'unfenceSource';

export function failoverHandlers(controller: Controller): Pick<Handlers, Verbs> {
  return {
    previewFailover: async ({ parameters, body, options }) => {
      const order = failoverOrder(body);
      const preview = await controller.previewFailover(parameters.replica, order, options);
      return previewAnswer(preview, order.fence);
    },
    failover: async ({ parameters, body, options }) =>
      operationAnswer(await controller.failover(parameters.replica, failoverOrder(body), options)),
    plannedFailover: async ({ parameters, body, options }) =>
      operationAnswer(await controller.plannedFailover(parameters.replica, body, options)),
    previewHop: async ({ parameters, body, options }) => {
      const order = hopOrder(body);
      return previewAnswer(await controller.previewHop(parameters.replica, order, options), 'none');
    },
    hop: async ({ parameters, body, options }) =>
      operationAnswer(await controller.hop(parameters.replica, hopOrder(body), options)),
    undoFailover: async ({ parameters, body, options }) =>
      operationAnswer(await controller.undoFailover(parameters.replica, body, options)),
    permanentFailover: async ({ parameters, options }) =>
      operationAnswer(await controller.permanentFailover(parameters.replica, options)),
    fenceSource: async ({ parameters, body, options }) =>
      operationAnswer(await controller.fenceSource(parameters.replica, body.fence, options)),
    unfenceSource: async ({ parameters, body, options }) => {
      const { acceptDuplicate } = body;
      return operationAnswer(
        await controller.unfenceSource(parameters.replica, acceptDuplicate, options),
      );
    },
  };
}

function failoverOrder(body: ParsedBody<'failover'>): FailoverOrder {
  const { reason, fence, acceptDuplicate, acceptDrift } = body;
  return { ...basis(body), reason, fence, acceptDuplicate, acceptDrift };
}

function hopOrder(body: ParsedBody<'hop'>): FailoverOrder {
  const { reason, acceptDuplicate } = body;
  return { ...basis(body), reason, fence: 'none', acceptDuplicate };
}

function basis({ point, archive }: ParsedBody<'hop'>): Pick<FailoverOrder, 'point' | 'archive'> {
  const chosen = { point: pointSelector(point) };
  return archive === undefined ? chosen : { ...chosen, archive };
}

function previewAnswer(preview: FailoverPreview, fence: SourceFence): FailoverPreviewAnswer {
  const { point, warnings, ...rest } = preview;
  return {
    ...rest,
    pointId: point.id,
    pointTakenAt: formatInstant(point.takenAt),
    pointConsistency: point.consistency,
    fence,
    warnings: [...warnings],
  };
}
