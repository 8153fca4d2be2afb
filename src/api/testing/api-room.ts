import type { TestContext } from 'node:test';
import { createVirtualClock, type VirtualClock } from '../../simulator/clock.ts';
import { type Api, createApi } from '../create-api.ts';
import { createFakeController, type FakeController } from './fake-controller.ts';

export const TOKEN = 'correct-horse-battery-staple';

export type ApiRoom = {
  readonly api: Api;
  readonly fake: FakeController;
  /** Time of the server; stands still unless the test moves it. */
  readonly clock: VirtualClock;
  /** What was logged: message and fields. */
  readonly logged: readonly unknown[][];
  request(
    method: 'GET' | 'POST' | 'DELETE',
    url: string,
    options?: { readonly headers?: Record<string, string>; readonly body?: unknown },
  ): Promise<{ status: number; type: string; answer: unknown; headers: Record<string, unknown> }>;
};

/** An API over a fake controller, closed after the test. */
export function openApiRoom(test: TestContext): ApiRoom {
  const fake = createFakeController();
  const clock = createVirtualClock({ mode: 'manual' });
  const logged: unknown[][] = [];
  const api = createApi({
    controller: fake.controller,
    clock,
    token: TOKEN,
    logger: { error: (...given) => void logged.push(given) },
    version: '1.2.3',
  });
  test.after(() => api.close());
  return {
    api,
    fake,
    clock,
    logged,
    request: async (method, url, { headers = {}, body } = {}) => {
      const response = await api.server.inject({
        method,
        url,
        headers: { host: 'localhost', authorization: `Bearer ${TOKEN}`, ...headers },
        ...(body === undefined ? {} : { payload: body as string | object }),
      });
      return {
        status: response.statusCode,
        type: String(response.headers['content-type']).split(';', 1)[0] ?? '',
        answer: parsed(response.body),
        headers: response.headers,
      };
    },
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
