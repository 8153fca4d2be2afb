import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { UnderstudyError } from '../../domain/error.ts';
import { EVERYTHING } from './fixtures/fixtures.ts';
import {
  append,
  attribute,
  child,
  createRoot,
  find,
  parseXml,
  serialiseXml,
  textOf,
} from './xml.ts';

describe('XML from hosts', () => {
  it('loses nothing of a definition', () => {
    assert.equal(serialiseXml(parseXml(EVERYTHING, 'vm')).trim(), canonical(EVERYTHING));
    const again = serialiseXml(parseXml(serialiseXml(parseXml(EVERYTHING, 'vm')), 'vm'));
    assert.equal(again, serialiseXml(parseXml(EVERYTHING, 'vm')));
    assert.match(again, /qemu:arg value="name=opt\/x,string=&quot;y&quot;"/);
  });

  const hostile: Readonly<Record<string, string>> = {
    'an entity bomb': '<!DOCTYPE a [<!ENTITY x "&y;&y;"><!ENTITY y "z">]><a>&x;</a>',
    'an external entity': '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
    'an unknown entity': '<a>&x;</a>',
    'deep nesting': `${'<a>'.repeat(20_000)}${'</a>'.repeat(20_000)}`,
    'too many tags': `<a>${'<b/>'.repeat(60_000)}</a>`,
    'too much text': `<a>${'x'.repeat(5_000_000)}</a>`,
    'a forbidden character': '<a b="\u0000"/>',
    'a forbidden reference': '<a>&#0;</a>',
    'half a surrogate': '<a>\ud800</a>',
    'no element': 'hello',
    nothing: '',
    'two roots': '<a/><b/>',
    'an unclosed element': '<a><b></a>',
    'an unbound prefix': '<a><x:b/></a>',
    'a doubled attribute': '<a b="1" b="2"/>',
  };
  for (const [what, text] of Object.entries(hostile)) {
    it(`refuses ${what}`, () => assert.throws(() => parseXml(text, 'vm'), isInvalid));
  }

  it('answers or refuses whatever it is given, never anything else', () => {
    const pieces = fc.constantFrom(
      '<',
      '>',
      '/',
      '&',
      ';',
      '"',
      "'",
      'a',
      ' ',
      '<!',
      '--',
      ']]>',
      '=',
      'x:',
      '&#',
      '\n',
      '<?',
      '<a>',
      '</a>',
    );
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 200 }),
      fc.array(pieces, { maxLength: 60 }).map((parts) => `<a>${parts.join('')}</a>`),
      damaged(EVERYTHING),
    );
    fc.assert(
      fc.property(text, (given) => {
        try {
          const written = serialiseXml(parseXml(given, 'vm'));
          // White space behind the root is nobody's content.
          assert.equal(serialiseXml(parseXml(written, 'vm')).trimEnd(), written.trimEnd());
        } catch (error) {
          if (!isInvalid(error)) throw error;
        }
      }),
      { numRuns: 300 },
    );
  });

  it('carries any allowed text through attributes and elements', () => {
    const text = fc
      .string({ unit: 'grapheme', maxLength: 60 })
      .filter((s) => !/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u.test(s));
    const awkward = fc.constantFrom(
      '--help',
      `'"<&>`,
      ']]>',
      'a\nb\tc\rd',
      '&amp;',
      '&#10;',
      '\u0085\u2028\u00a0',
      '\ufffd',
      '<!DOCTYPE a>',
    );
    fc.assert(
      fc.property(fc.oneof(text, awkward), (value) => {
        const root = createRoot('a', { b: value });
        append(root, 'c', {}, value);
        const back = parseXml(serialiseXml(root), 'vm').documentElement;
        assert.ok(back !== null);
        assert.equal(attribute(back, 'b'), value);
        assert.equal(child(back, 'c')?.textContent, value);
      }),
      { numRuns: 200 },
    );
  });

  it('does not take a foreign element for one of libvirt', () => {
    const root = parseXml('<a xmlns:x="u"><x:b>1</x:b><b>2</b></a>', 'vm').documentElement;
    assert.ok(root !== null);
    assert.equal(textOf(find(root, 'b')), '2');
  });
});

/** Cut, doubled or overwritten somewhere. */
function damaged(text: string): fc.Arbitrary<string> {
  return fc
    .tuple(fc.nat(text.length), fc.nat(text.length), fc.string({ maxLength: 5 }))
    .map(([a, b, put]) => text.slice(0, a) + put + text.slice(b));
}

/** The serialiser's own choice of quotes, and nothing else. */
function canonical(text: string): string {
  return text
    .trim()
    .replaceAll(/(\s[\w:]+=)'([^']*)'/g, (_, name: string, value: string) => `${name}"${value}"`)
    .replaceAll(/<title>.*<\/title>/g, '<title>Mail &amp; calendar</title>');
}

function isInvalid(error: unknown): boolean {
  return error instanceof UnderstudyError && error.code === 'invalid-vm-configuration';
}
