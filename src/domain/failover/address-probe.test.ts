import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { UnderstudyError } from '../error.ts';
import { type AddressProbe, formatAddressProbe, parseAddressProbe } from './address-probe.ts';

test('every written form is read', () => {
  const forms: readonly (readonly [string, AddressProbe])[] = [
    ['tcp:10.0.0.5:22', { type: 'tcp', address: '10.0.0.5', port: 22 }],
    ['tcp:[fd00::5]:22', { type: 'tcp', address: 'fd00::5', port: 22 }],
    [
      'http:shop.example:80',
      { type: 'http', address: 'shop.example', port: 80, path: '/', status: null },
    ],
    [
      'http:10.0.0.5:8080/a?b=c@90s=204',
      { type: 'http', address: '10.0.0.5', port: 8080, path: '/a?b=c@90s', status: 204 },
    ],
  ];
  for (const [text, probe] of forms) assert.deepEqual(parseAddressProbe(text), probe, text);
});

test('everything else is refused', () => {
  const wrong = [
    '',
    'agent',
    'tcp:22',
    'tcp::22',
    'tcp:10.0.0.5',
    'tcp:10.0.0.5:0',
    'tcp:10.0.0.5:22@90s',
    'tcp:-x:22',
    'tcp:a b:22',
    'tcp:[10.0.0.5]:22',
    'tcp:fd00::5:22',
    'http:a:80/b c',
    'http:a:80/x\r\nHost: y',
    'command:a:1',
  ];
  for (const text of wrong) assert.throws(() => parseAddressProbe(text), isInvalid, text);
});

test('what is written is read as it was, and no text breaks the parser', () => {
  const address = fc.oneof(fc.ipV4(), fc.constantFrom('fd00::5', '::1', '1::2:3'), fc.domain());
  const port = fc.integer({ min: 1, max: 65_535 });
  const anyProbe: fc.Arbitrary<AddressProbe> = fc.oneof(
    fc.record({ type: fc.constant('tcp' as const), address, port }),
    fc.record({
      type: fc.constant('http' as const),
      address,
      port,
      path: fc
        .string({ unit: fc.constantFrom(...'ab0/-_.~?&:@'), maxLength: 9 })
        .map((p) => `/${p}`),
      status: fc.option(fc.integer({ min: 100, max: 599 })),
    }),
  );
  fc.assert(
    fc.property(anyProbe, (probe) => {
      assert.deepEqual(parseAddressProbe(formatAddressProbe(probe)), { ...probe });
    }),
  );
  fc.assert(
    fc.property(fc.string(), fc.constantFrom('', 'tcp:', 'http:a:', 'tcp:['), (rest, head) => {
      try {
        parseAddressProbe(`${head}${rest}`);
      } catch (error) {
        assert.ok(isInvalid(error));
      }
    }),
  );
});

function isInvalid(error: unknown): boolean {
  return error instanceof UnderstudyError && error.code === 'invalid-request';
}
