package stentor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Longest body of an error that is read, in bytes.
const errorLimit = 1 << 20

// Error is a refusal or failure of a request.
type Error struct {
	// Code is stable. A newer server may send codes that this version does not list.
	Code Code
	// Message is for people and may change.
	Message string
	// Status is the HTTP status.
	Status int
	// RequestID identifies the request in the server's log.
	RequestID string
	Details   map[string]interface{}
	// RetryAfter is the time after which the same request may succeed; negative if it would fail again.
	RetryAfter time.Duration
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("stentor: %s (%s)", e.Message, e.Code)
}

// IsCode returns true if err is, or wraps, an [*Error] with this code.
func IsCode(err error, code Code) bool {
	var refused *Error
	return errors.As(err, &refused) && refused.Code == code
}

// errorOf reads the body of an answer that is not a success.
func errorOf(response *http.Response) *Error {
	var body struct {
		Code      Code                   `json:"code"`
		Error     string                 `json:"error"`
		RequestID string                 `json:"requestId"`
		Details   map[string]interface{} `json:"details"`
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, errorLimit))
	if err != nil || json.Unmarshal(text, &body) != nil || body.Code == "" {
		// A proxy in front of the server may answer with another body.
		body.Code, body.Error = "unexpected_answer", "HTTP status "+response.Status
	}
	retryAfter := time.Duration(-1)
	if seconds, err := strconv.ParseUint(response.Header.Get("Retry-After"), 10, 31); err == nil {
		retryAfter = time.Duration(seconds) * time.Second
	}
	return &Error{body.Code, body.Error, response.StatusCode, body.RequestID, body.Details, retryAfter}
}
