// Checks with an independent validator that standard input is a valid OpenAPI document. Prints {valid,
// version, errors?}; nothing is fetched.

import { Validator } from '@seriousme/openapi-schema-validator';

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const validator = new Validator();
const { valid, errors } = await validator.validate(JSON.parse(Buffer.concat(chunks).toString('utf8')));
console.log(JSON.stringify({ valid, version: validator.version, errors }));
