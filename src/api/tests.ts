import { type Probe, parseProbe } from '../domain/test-failover/probe.ts';
import type { Controller } from '../ports/controller.ts';
import type { Handlers } from './handlers.ts';
import { operationAnswer } from './operations.ts';
import { pointSelector } from './point-selector.ts';

type Verbs = 'testFailover' | 'bisect' | 'endTest' | 'testEvidence';

export function testHandlers(controller: Controller): Pick<Handlers, Verbs> {
  return {
    testFailover: async ({ parameters, body, options }) => {
      const order = {
        points: body.points.map(pointSelector),
        probes: parseProbes(body.probes),
        holdSeconds: body.holdSeconds,
      };
      const operations = await controller.testFailover(parameters.replica, order, options);
      return { items: operations.map(operationAnswer) };
    },
    bisect: async ({ parameters, body, options }) =>
      operationAnswer(
        await controller.bisect(parameters.replica, parseProbes(body.probes), options),
      ),
    endTest: async ({ parameters, options }) =>
      operationAnswer(await controller.endTest(parameters.operation, options)),
    testEvidence: async ({ parameters, options }) => {
      const { test, name } = parameters;
      const file = { testId: test, name };
      const found = await controller.testEvidence(parameters.operation, file, options);
      return { test, name, ...found };
    },
  };
}

export function parseProbes(texts: readonly string[]): readonly Probe[] {
  return texts.map((text) => parseProbe(text));
}
