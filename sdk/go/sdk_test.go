package stentor_test

// The tests of the room API need a node: STENTOR_API, STENTOR_HLS, STENTOR_API_KEY and STENTOR_JWT_SECRET (kid:secret).

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	stentor "example.org/stentor/sdk/go"
)

var room = fmt.Sprintf("go-sdk-%d", os.Getpid())

func TestWebhooksAreVerified(t *testing.T) {
	text, err := os.ReadFile("../webhooks.json")
	check(t, err)
	var vectors struct {
		Cases []struct {
			Name, ID, Timestamp, Signature, Body string
			Secrets                              []string
			Now                                  int64
			Accepted                             bool
		}
	}
	check(t, json.Unmarshal(text, &vectors))
	if len(vectors.Cases) < 20 {
		t.Fatal("too few cases")
	}
	for _, c := range vectors.Cases {
		verifier, err := stentor.NewWebhookVerifier(c.Secrets...)
		check(t, err)
		header := http.Header{}
		header.Set("webhook-id", c.ID)
		header.Set("webhook-timestamp", c.Timestamp)
		header.Set("webhook-signature", c.Signature)
		err = verifier.VerifyAt([]byte(c.Body), header, time.Unix(c.Now, 0))
		if c.Accepted != (err == nil) || err != nil && !errors.Is(err, stentor.ErrWebhook) {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
	for _, bad := range [][]string{{}, {"whsec_???"}} {
		if _, err := stentor.NewWebhookVerifier(bad...); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}

func TestBadTokenSecretsAreRefused(t *testing.T) {
	for _, bad := range []string{"", "k1", "k1:short", ":" + strings.Repeat("x", 40)} {
		if _, err := stentor.NewTokenSigner(bad, ""); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestLostStreamIsContinued(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		asked = append(asked, request.URL.String())
		if len(asked) == 1 {
			writer.Header().Set("Retry-After", "0")
			writer.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(writer, `{"error":"later","code":"too_many_clients"}`)
			return
		}
		fmt.Fprintf(writer, ": comment\n\nid: %d.0\ndata: {\"cursor\":\"%d.0\"}\n\n", len(asked), len(asked))
	}))
	defer server.Close()
	client, err := stentor.Connect(server.URL, "")
	check(t, err)
	var cursors []string
	enough := errors.New("enough")
	err = stentor.Follow(deadline(t), client, "0", stentor.EventFilter{}, func(event stentor.LedgerEntry) error {
		cursors = append(cursors, event.Cursor)
		if len(cursors) == 2 {
			return enough
		}
		return nil
	})
	equal(t, err, enough)
	equal(t, cursors, []string{"2.0", "3.0"})
	equal(t, asked, []string{"/api/events?after=0", "/api/events?after=0", "/api/events?after=2.0"})
}

func TestRoomIsRunBySDK(t *testing.T) {
	api := os.Getenv("STENTOR_API")
	if api == "" {
		t.Skip("no node")
	}
	ctx := deadline(t)
	client, err := stentor.Connect(api+"/", os.Getenv("STENTOR_API_KEY"))
	check(t, err)
	stranger, err := stentor.Connect(api, "")
	check(t, err)

	body := stentor.CreateRoom{RoomId: stentor.Value(room), Title: stentor.Value("Tea")}
	made, err := client.CreateRoomWithResponse(ctx, body)
	check(t, err)
	created := made.JSON201.Room.CreatedAt
	equal(t, made.JSON201.Room.Title, stentor.Value("Tea"))
	_, err = client.CreateRoomWithResponse(ctx, body)
	var refused *stentor.Error
	if !errors.As(err, &refused) || !stentor.IsCode(err, stentor.CodeRoomExists) {
		t.Fatal(err)
	}
	equal(t, refused.Status, 409)
	equal(t, refused.RetryAfter < 0, true)
	equal(t, len(refused.RequestID), 32)
	_, err = stranger.ListRoomsWithResponse(ctx, nil)
	equal(t, stentor.IsCode(err, stentor.CodeUnauthorized), true)
	changed, err := client.UpdateRoomWithResponse(ctx, room, stentor.UpdateRoom{Title: stentor.Null[string]()})
	check(t, err)
	equal(t, changed.JSON200.Room.Title.IsSpecified(), false)
	_, err = client.StartRoomWithResponse(ctx, room)
	check(t, err)
	text := room
	listed, err := client.ListRoomsWithResponse(ctx, &stentor.ListRoomsParams{Q: &text})
	check(t, err)
	equal(t, len(listed.JSON200.Rooms), 1)

	user := stentor.CreateUser{UserId: stentor.Value("ann"), Role: stentor.UserRoleHost}
	ann, err := client.CreateUserWithResponse(ctx, room, user)
	check(t, err)
	equal(t, strings.Contains(ann.JSON201.InviteUrl, "/speak/"+room+"#token="), true)
	tokensAreAccepted(ctx, t, created)

	// The ledger may lag behind the store: Follow waits for an event, Pages does not.
	var seen, followed, later []string
	var cursor string
	filter := stentor.EventFilter{Room: room}
	deleted := errors.New("deleted")
	err = stentor.Follow(ctx, client, "0", filter, func(event stentor.LedgerEntry) error {
		followed = append(followed, string(event.Type))
		switch event.Type {
		case stentor.EventTypeRoomStarted:
			cursor = event.Cursor
		case stentor.EventTypeAnchorInvited:
			check(t, stentor.Pages(ctx, client, "", filter, func(event stentor.LedgerEntry) error {
				seen = append(seen, string(event.Type))
				return nil
			}))
			_, err := client.DeleteRoomWithResponse(ctx, room)
			return err
		case stentor.EventTypeRoomDeleted:
			return deleted
		}
		return nil
	})
	equal(t, err, deleted)
	types := []string{"room_created", "room_started", "anchor_invited", "room_ended", "room_deleted"}
	equal(t, followed, types)
	equal(t, seen, types[:3])
	check(t, stentor.Pages(ctx, client, cursor, filter, func(event stentor.LedgerEntry) error {
		later = append(later, string(event.Type))
		return nil
	}))
	equal(t, later, types[2:])
	err = stentor.Follow(ctx, stranger, "0", filter, nil)
	equal(t, stentor.IsCode(err, stentor.CodeUnauthorized), true)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	equal(t, stentor.Follow(cancelled, client, "0", filter, nil), context.Canceled)
}

func tokensAreAccepted(ctx context.Context, t *testing.T, created int64) {
	secret := os.Getenv("STENTOR_JWT_SECRET")
	signer, err := stentor.NewTokenSigner(secret, "")
	check(t, err)
	foreign, err := stentor.NewTokenSigner(secret, "other")
	check(t, err)
	anchors := map[stentor.AnchorToken]string{
		{Room: room, User: "cy"}: "anchor ",
		{Room: room, User: "dan", Role: stentor.UserRoleHost, TTL: time.Minute}:         "host ",
		{Room: room, User: "eve", Role: stentor.UserRoleAnchor, RoomCreatedAt: created}: "anchor ",
	}
	for token, expected := range anchors {
		signed, err := signer.Anchor(token)
		check(t, err)
		equal(t, hello(ctx, t, signed), expected)
	}
	listeners := map[stentor.ListenerToken]string{
		{Room: room}: "listener ",
		{Room: room, User: "bob", Name: "Bob", RoomCreatedAt: created}: "listener Bob",
		{Room: "other-room"}:                     "403",
		{Room: room, TTL: -time.Minute}:          "401",
		{Room: room, RoomCreatedAt: created - 1}: "401",
	}
	for token, expected := range listeners {
		signed, err := signer.Listener(token)
		check(t, err)
		equal(t, hello(ctx, t, signed), expected)
	}
	signed, err := foreign.Listener(stentor.ListenerToken{Room: room})
	check(t, err)
	equal(t, hello(ctx, t, signed), "401")
}

// hello returns role and name that the listener channel has for a token, or the status of the refusal.
func hello(ctx context.Context, t *testing.T, token string) string {
	url := os.Getenv("STENTOR_HLS") + "/hls/rooms/" + room + "/events"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	check(t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	check(t, err)
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Sprint(response.StatusCode)
	}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		data := strings.TrimPrefix(lines.Text(), "data:")
		var event struct{ You *struct{ Role, Name string } }
		if data != lines.Text() && json.Unmarshal([]byte(data), &event) == nil && event.You != nil {
			return event.You.Role + " " + event.You.Name
		}
	}
	t.Fatal("no hello")
	return ""
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, found, expected interface{}) {
	t.Helper()
	if !reflect.DeepEqual(found, expected) {
		t.Fatalf("%v instead of %v", found, expected)
	}
}
