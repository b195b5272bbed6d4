// The parts of an OpenAPI 3.1 document that the API reference shows, and readers of its schemas.

export interface Schema {
  $ref?: string;
  type?: string | string[];
  format?: string;
  description?: string;
  enum?: unknown[];
  pattern?: string;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  maxItems?: number;
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  oneOf?: Schema[];
  allOf?: Schema[];
  default?: unknown;
}

export interface Parameter {
  name: string;
  in: string;
  description?: string;
  required?: boolean;
  schema?: Schema;
}

export interface Operation {
  operationId: string;
  tags?: string[];
  summary?: string;
  description?: string;
  parameters?: Parameter[];
  requestBody?: { description?: string; required?: boolean; content: Record<string, { schema?: Schema }> };
  responses: Record<string, { description: string; content?: Record<string, { schema?: Schema }> }>;
  security?: Record<string, string[]>[];
}

export interface OpenApi {
  info: { title: string; version: string; description?: string };
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema> };
}

/** Properties of an object, with the names of those that are required. */
export interface Fields {
  properties: [string, Schema][];
  required: Set<string>;
}

/** Returns the schema without the alternative `null`. */
function present(schema: Schema): Schema {
  return schema.oneOf?.find((choice) => choice.type !== 'null') ?? schema;
}

/** Returns the name of the schema that this one, or the items of this array, refer to. */
export function referenceOf(schema: Schema): string | undefined {
  const { $ref, items } = present(schema);
  return $ref?.split('/').pop() ?? (items && referenceOf(items));
}

/**
 * Returns the fields of an object, including those that it takes from other schemas; none for other schemas.
 */
export function fieldsOf(document: OpenApi, schema: Schema): Fields {
  const { $ref, allOf = [], properties = {}, required = [] } = present(schema);
  const target = $ref === undefined ? undefined : document.components.schemas[$ref.split('/').pop()!];
  const parts = [...(target ? [target] : []), ...allOf].map((part) => fieldsOf(document, part));
  return {
    properties: [...parts.flatMap((part) => part.properties), ...Object.entries(properties)],
    required: new Set([...parts.flatMap((part) => [...part.required]), ...required]),
  };
}

/** Returns the values of an enum, including one that the schema refers to. */
export function valuesOf(document: OpenApi, schema: Schema): unknown[] {
  const { $ref, enum: values = [] } = present(schema);
  return $ref === undefined ? values : (document.components.schemas[$ref.split('/').pop()!]?.enum ?? []);
}

/** Returns the type in words, e.g. `array of string, or null`. */
export function typeOf(document: OpenApi, schema: Schema): string {
  const { $ref, type, items } = present(schema);
  const nullable = schema !== present(schema) || (Array.isArray(schema.type) && schema.type.includes('null'));
  const kinds = Array.isArray(type) ? type.filter((kind) => kind !== 'null') : type === undefined ? [] : [type];
  let words = kinds.join(' or ') || 'object';
  if ($ref !== undefined) words = valuesOf(document, schema).length > 0 ? 'string' : 'object';
  if (words === 'array' && items) words = `array of ${typeOf(document, items)}s`;
  return nullable ? `${words}, or null` : words;
}

/** Returns the limits of a value in words. */
export function limitsOf(document: OpenApi, schema: Schema): string[] {
  const { minimum, maximum, minLength, maxLength, maxItems, pattern } = present(schema);
  const range = (what: string, least?: number, most?: number) => {
    if (least !== undefined && most !== undefined) return [`${least} to ${most}${what}`];
    if (most !== undefined) return [`at most ${most}${what}`];
    return least !== undefined && least > 0 ? [`at least ${least}${what}`] : [];
  };
  // The pattern of a parameter lists its values.
  const [, listed] = /^\^\(([a-z_|]+)\)\$$/.exec(pattern ?? '') ?? [];
  const values = listed?.split('|') ?? valuesOf(document, schema);
  return [
    ...range('', minimum, maximum),
    ...range(' characters', minLength, maxLength),
    ...range(' items', undefined, maxItems),
    ...(values.length > 0 ? [values.map((value) => `\`${String(value)}\``).join(', ')] : []),
    ...(pattern === undefined || listed !== undefined ? [] : [`matches \`${pattern}\``]),
  ];
}

/** Returns a small valid value, for the example of a request: required fields only. */
export function exampleOf(document: OpenApi, schema: Schema, name = ''): unknown {
  const [first] = valuesOf(document, schema);
  if (first !== undefined) return first;
  const { properties, required } = fieldsOf(document, schema);
  if (properties.length > 0) {
    const needed = properties.filter(([field]) => required.has(field));
    return Object.fromEntries(needed.map(([field, value]) => [field, exampleOf(document, value, field)]));
  }
  const type = typeOf(document, schema).split(',')[0];
  if (type === 'boolean') return true;
  if (type === 'integer' || type === 'number') return schema.minimum ?? 1;
  return /^(roomId|id|room)$/.test(name) ? 'tea-room' : name === 'userId' ? 'ann' : 'text';
}
