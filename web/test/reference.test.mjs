import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { parts } from './support.mjs';

const { exampleOf, fieldsOf, limitsOf, referenceOf, typeOf } = await parts();
const api = JSON.parse(readFileSync(new URL('../../sdk/openapi.json', import.meta.url), 'utf8'));
const schema = (name) => ({ $ref: `#/components/schemas/${name}` });

test('types and limits are told in words', () => {
  const fields = Object.fromEntries(fieldsOf(api, schema('CreateRoom')).properties);
  assert.equal(typeOf(api, fields.roomId), 'string, or null');
  assert.equal(typeOf(api, fields.tags), 'array of strings, or null');
  assert.deepEqual(limitsOf(api, fields.maxAnchors), ['1 to 20']);
  assert.deepEqual(limitsOf(api, { type: 'string', pattern: '^(a|b)$' }), ['`a`, `b`']);
  assert.deepEqual(limitsOf(api, schema('UserRole')).length, 1);
});

test('fields of combined schemas are found', () => {
  const { properties, required } = fieldsOf(api, { oneOf: [{ type: 'null' }, schema('Room')] });
  const names = properties.map(([name]) => name);
  assert(names.includes('title') && names.includes('status'), names);
  assert(required.has('roomId') && !required.has('title'));
  assert.equal(referenceOf({ type: 'array', items: schema('Room') }), 'Room');
});

test('every schema has a type and an example', () => {
  for (const name of Object.keys(api.components.schemas)) {
    assert.match(typeOf(api, schema(name)), /^[a-z]/, name);
    assert.notEqual(exampleOf(api, schema(name)), undefined, name);
  }
  assert.deepEqual(exampleOf(api, schema('TokenRequest')), { roomId: 'tea-room' });
});
