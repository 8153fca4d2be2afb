import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { UnderstudyError } from '../error.ts';
import { formatProbe, type Probe, parseProbe } from './probe.ts';

test('every written form is read', () => {
  const deadlineSeconds = 180;
  const forms: readonly (readonly [string, Probe])[] = [
    ['agent', { type: 'agent', deadlineSeconds }],
    ['agent@90s', { type: 'agent', deadlineSeconds: 90 }],
    ['tcp:22@5m', { type: 'tcp', port: 22, deadlineSeconds: 300 }],
    ['http:80', { type: 'http', port: 80, path: '/', status: null, deadlineSeconds }],
    ['http:80/a?b=c', { type: 'http', port: 80, path: '/a?b=c', status: null, deadlineSeconds }],
    ['http:80/x=204', { type: 'http', port: 80, path: '/x', status: 204, deadlineSeconds }],
    [
      'command:/bin/check --all',
      { type: 'command', program: '/bin/check', arguments: ['--all'], deadlineSeconds },
    ],
    [
      'command:["sh","-c","a b"]@7s',
      { type: 'command', program: 'sh', arguments: ['-c', 'a b'], deadlineSeconds: 7 },
    ],
  ];
  for (const [text, probe] of forms) assert.deepEqual(parseProbe(text), probe, text);
  assert.equal(parseProbe('agent', 20).deadlineSeconds, 20);
});

test('everything else is refused with how it is written', () => {
  const wrong = [
    '',
    'agent:1',
    'tcp:',
    'tcp:0',
    'tcp:65536',
    'tcp:22x',
    'http:',
    'http:80/a b',
    'http:80/x\r\nHost: y',
    'http:80/x=999',
    'command:',
    'command:[1]',
    'command:["a"',
    'command:[]',
    'agent@0s',
    'agent@9999m',
    'udp:53',
  ];
  for (const text of wrong) {
    assert.throws(
      () => parseProbe(text),
      (error) => error instanceof UnderstudyError && error.code === 'invalid-request',
      text,
    );
  }
});

const word = fc.string({ minLength: 1, maxLength: 12 });
const path = fc.string({ unit: fc.constantFrom(...'abz09/-_.~?&@'), maxLength: 12 });
const anyProbe: fc.Arbitrary<Probe> = fc
  .tuple(
    fc.oneof(
      fc.constant({ type: 'agent' } as const),
      fc.record({ type: fc.constant('tcp' as const), port: fc.integer({ min: 1, max: 65_535 }) }),
      fc.record({
        type: fc.constant('http' as const),
        port: fc.integer({ min: 1, max: 65_535 }),
        path: path.map((rest) => `/${rest}`),
        status: fc.option(fc.integer({ min: 100, max: 599 })),
      }),
      fc.record({
        type: fc.constant('command' as const),
        program: word,
        arguments: fc.array(word, { maxLength: 4 }),
      }),
    ),
    fc.integer({ min: 1, max: 3600 }),
  )
  .map(([kind, deadlineSeconds]) => ({ ...kind, deadlineSeconds }));

test('what is written is read as it was', () => {
  fc.assert(
    fc.property(anyProbe, (probe) => {
      // A deadline of its own is always written, so that a path or word may look like one.
      const text = formatProbe(probe);
      const written = probe.deadlineSeconds === 180 ? `${text}@180s` : text;
      assert.deepEqual(parseProbe(written), probe);
    }),
  );
});

test('no text at all breaks the parser', () => {
  fc.assert(
    fc.property(fc.string(), fc.constantFrom('', 'http:', 'tcp:', 'command:'), (rest, head) => {
      try {
        parseProbe(`${head}${rest}`);
      } catch (error) {
        assert.ok(error instanceof UnderstudyError);
      }
    }),
  );
});
