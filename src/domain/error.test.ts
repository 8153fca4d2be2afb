import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asUnderstudyError, errorFromRecord, errorRecord, UnderstudyError } from './error.ts';
import { ERROR_CATALOG, type ErrorCode } from './error-catalog.ts';

test('every entry says what happened in one sentence, and its remedy is one, too', () => {
  for (const [code, { message, remedy }] of Object.entries(ERROR_CATALOG)) {
    assert.match(code, /^[a-z]+(-[a-z]+)*$/);
    assert.match(message, /[.}]$/, code);
    assert.ok(remedy === '' || /[.`}?]$/.test(remedy), `${code}: ${remedy}`);
  }
});

test('details fill the sentence; a value that looks like a placeholder is not filled again', () => {
  const error = new UnderstudyError('vm-missing', { vm: '{host}', host: 'h1' });
  assert.match(error.message, /^There is no VM \{host\} on host h1\./);
});

test('a command in a remedy can be copied, whatever the name of the VM', () => {
  const replica = `a"b'c $(id)`;
  const { message } = new UnderstudyError('point-missing', { replica, point: 'pt-1' });
  assert.ok(message.startsWith(`Replica ${replica} has`));
  assert.ok(message.endsWith(`\`understudy point list 'a"b'\\''c $(id)'\`.`), message);
});

test('an error survives being written down and read back', () => {
  for (const code of Object.keys(ERROR_CATALOG) as ErrorCode[]) {
    const error = new UnderstudyError(code, { vm: 'x' });
    const back = errorFromRecord(JSON.parse(JSON.stringify(errorRecord(error))));
    assert.equal(back.message, error.message);
    assert.equal(back.kind, error.kind);
  }
});

test('what is not ours becomes unexpected, with its words and cause', () => {
  const cause = new TypeError('boom');
  const error = asUnderstudyError(cause);
  assert.equal(error.code, 'unexpected');
  assert.equal(error.cause, cause);
  assert.match(error.message, /boom/);
});
