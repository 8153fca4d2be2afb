/** The documents hang together: an index has all pages, and no link leads nowhere. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { conditionSchema } from '../src/contract/replica.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const PAGES = [...pagesIn('.', false), ...pagesIn('docs', true)];

function pagesIn(folder: string, recursive: boolean): readonly string[] {
  const names = readdirSync(join(ROOT, folder), { recursive, encoding: 'utf8' });
  return names.filter((name) => name.endsWith('.md')).map((name) => join(folder, name));
}

/** Files of this repository that a page links to, seen from the root. */
function linksOf(page: string): readonly string[] {
  const text = readFileSync(join(ROOT, page), 'utf8');
  const targets = [...text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)].map(
    ([, target = '']) => target,
  );
  const own = targets.filter((target) => !/^[a-z]+:/.test(target));
  return own.map((target) => join(dirname(page), target));
}

test('every link between the documents leads somewhere', () => {
  assert.ok(PAGES.length > 20, 'the pages are found');
  const dead = PAGES.flatMap((page) =>
    linksOf(page)
      .filter((target) => !existsSync(join(ROOT, target)))
      .map((target) => `${page}: ${target}`),
  );
  assert.deepEqual(dead, []);
});

test('the index of concepts has every page', () => {
  const index = join('docs', 'concepts', 'README.md');
  const pages = PAGES.filter((page) => dirname(page) === dirname(index) && page !== index);
  const linked = linksOf(index);
  const missing = pages.filter((page) => !linked.includes(page));
  assert.deepEqual(
    missing.map((page) => relative(dirname(index), page)),
    [],
  );
});

test('every condition is explained', () => {
  const page = readFileSync(join(ROOT, 'docs', 'concepts', 'conditions.md'), 'utf8');
  const explained = [...page.matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, name]) => name);
  assert.deepEqual(explained.toSorted(), conditionSchema.shape.name.options.toSorted());
});
