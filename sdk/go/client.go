// Package stentor is the server SDK for Stentor: the room API, tokens, the event ledger and webhooks.
//
// The methods of [ClientWithResponses] and the types of their bodies are generated from the OpenAPI document of the
// room API.
package stentor

import (
	"net/http"
	"strings"

	"github.com/oapi-codegen/nullable"
)

// Connect returns a client of the room API at url, e.g. http://127.0.0.1:3000. The key is one of auth.api_keys, or
// empty for auth.mode: open.
//
// Every method returns an [*Error] for an answer that is not a success. The body of a success is in the field JSON200
// or JSON201 of the result.
func Connect(url, key string, options ...ClientOption) (*ClientWithResponses, error) {
	client, err := NewClient(strings.TrimRight(url, "/"), options...)
	if err != nil {
		return nil, err
	}
	client.Client = &checked{doer: client.Client, key: key}
	return &ClientWithResponses{ClientInterface: client}, nil
}

// checked sends requests with an API key, and turns refusals into errors.
type checked struct {
	doer HttpRequestDoer
	key  string
}

// Do implements HttpRequestDoer.
func (c *checked) Do(request *http.Request) (*http.Response, error) {
	if c.key != "" {
		request.Header.Set("Authorization", "Bearer "+c.key)
	}
	response, err := c.doer.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		defer response.Body.Close()
		return nil, errorOf(response)
	}
	return response, nil
}

// Value returns v for an optional field of a body.
func Value[T any](v T) nullable.Nullable[T] {
	return nullable.NewNullableWithValue(v)
}

// Null returns null, which removes a field of a room in [UpdateRoom].
func Null[T any]() nullable.Nullable[T] {
	return nullable.NewNullNullable[T]()
}
