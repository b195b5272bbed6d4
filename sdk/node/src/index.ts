// Server SDK for Stentor. Functions and types of the room API are generated from its OpenAPI document (`rest/`).

export * from './rest/index.js';
export type { Client } from './rest/client/index.js';
export { connect } from './client.js';
export { StentorError } from './errors.js';
export { follow, pages, type EventFilter } from './events.js';
export { TokenSigner, type AnchorOptions, type ListenerOptions } from './tokens.js';
export { WebhookError, WebhookVerifier, type WebhookHeaders } from './webhooks.js';
