import type { IncomingMessage } from 'node:http';

export type ServerSentEvent = { readonly event: string; readonly text: string };

/** One event never needs more; a sender that exceeds it is not ours. */
const EVENT_CHARACTERS_MAX = 8 * 1024 * 1024;

/**
 * Events in the order of arrival, as the WHATWG HTML standard §9.2.6 parses them, without `retry` and the
 * id, which our events repeat in their value. An unfinished event at the end is dropped, as it demands.
 */
export async function* readServerSentEvents(
  response: IncomingMessage,
): AsyncGenerator<ServerSentEvent> {
  response.setEncoding('utf8');
  let pending = '';
  for await (const chunk of response) {
    pending += String(chunk);
    let end = pending.indexOf('\n\n');
    while (end !== -1) {
      const parsed = parseEvent(pending.slice(0, end));
      pending = pending.slice(end + 2);
      if (parsed !== null) yield parsed;
      end = pending.indexOf('\n\n');
    }
    if (pending.length > EVENT_CHARACTERS_MAX) throw new Error('an event is too large');
  }
}

/** Null for a comment. */
function parseEvent(block: string): ServerSentEvent | null {
  let event = 'message';
  const text: string[] = [];
  for (const line of block.split('\n')) {
    if (line.startsWith('event: ')) event = line.slice('event: '.length);
    if (line.startsWith('data: ')) text.push(line.slice('data: '.length));
  }
  return text.length === 0 ? null : { event, text: text.join('\n') };
}
