package stentor

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"net/http"
	"strings"
	"time"
)

const (
	// Events per page.
	pageSize = 1000
	// Time without a byte after which a stream counts as dead; a node sends a comment every 15 seconds.
	silence = 40 * time.Second
	// Shortest and longest delay before a stream is opened again.
	shortestDelay = 500 * time.Millisecond
	longestDelay  = 8 * time.Second
	// Longest line of a stream, in bytes.
	lineLimit = 1 << 20
)

// EventFilter selects events of the ledger. Empty fields select all.
type EventFilter struct {
	Room, Type string
}

// Pages calls handle for every event that the ledger has now after the cursor, and returns the first error. An empty
// cursor is before the oldest event that is kept.
func Pages(
	ctx context.Context, client *ClientWithResponses, after string, filter EventFilter, handle func(LedgerEntry) error,
) error {
	limit := int32(pageSize)
	for {
		params := filter.params(after)
		params.Limit = &limit
		answer, err := client.ListEventsWithResponse(ctx, params)
		if err != nil {
			return err
		}
		if answer.JSON200 == nil {
			return fmt.Errorf("stentor: the answer is not JSON: %s", answer.Status())
		}
		for _, event := range answer.JSON200.Events {
			if err := handle(event); err != nil {
				return err
			}
		}
		if !answer.JSON200.More {
			return nil
		}
		after = answer.JSON200.Next
	}
}

// Follow calls handle for every event after the cursor, and then for every new one, until ctx is done. After the
// loss of a connection it continues after the last event, so it passes each event exactly once. The cursor 0 is before
// all events.
//
// It returns the error of handle, an [*Error] if the request is refused and would be refused again, or the error of
// ctx.
func Follow(
	ctx context.Context, client *ClientWithResponses, after string, filter EventFilter, handle func(LedgerEntry) error,
) error {
	for delay := shortestDelay; ; delay *= 2 {
		var failed error
		lost := stream(ctx, client, filter.params(after), func(event LedgerEntry) error {
			after, delay = event.Cursor, shortestDelay
			failed = handle(event)
			return failed
		})
		if failed != nil {
			return failed
		}
		if delay > longestDelay {
			delay = longestDelay
		}
		wait := time.Duration(rand.Int63n(int64(delay)))
		var refused *Error
		if errors.As(lost, &refused) {
			if refused.RetryAfter < 0 {
				return refused
			}
			wait += refused.RetryAfter
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// stream reads one connection to its end.
func stream(
	ctx context.Context, client *ClientWithResponses, params *ListEventsParams, handle func(LedgerEntry) error,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(silence, cancel)
	defer timer.Stop()
	accept := func(_ context.Context, request *http.Request) error {
		request.Header.Set("Accept", "text/event-stream")
		return nil
	}
	response, err := client.ListEvents(ctx, params, accept)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, lineLimit)
	for lines.Scan() {
		timer.Reset(silence)
		// The node writes the data of an event in one line.
		if !strings.HasPrefix(lines.Text(), "data:") {
			continue
		}
		var event LedgerEntry
		if err := json.Unmarshal([]byte(strings.TrimPrefix(lines.Text(), "data:")), &event); err != nil {
			return err
		}
		if err := handle(event); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (f EventFilter) params(after string) *ListEventsParams {
	params := &ListEventsParams{}
	for _, field := range []struct {
		target **string
		value  string
	}{{&params.After, after}, {&params.Room, f.Room}, {&params.Type, f.Type}} {
		if field.value != "" {
			value := field.value
			*field.target = &value
		}
	}
	return params
}
