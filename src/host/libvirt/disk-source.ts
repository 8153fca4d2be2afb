import { ensureChild, removeChildren, setAttributes, type XmlElement } from './xml.ts';

/** The disk is this file from now on; what it was before leaves no trace. */
export function placeAt(disk: XmlElement, path: string): void {
  setAttributes(disk, { type: 'file' });
  removeChildren(disk, 'backingStore', 'mirror');
  const source = ensureChild(disk, 'source');
  for (const { name } of [...source.attributes]) source.removeAttribute(name);
  source.textContent = '';
  setAttributes(source, { file: path });
}
