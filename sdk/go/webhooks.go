package stentor

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Largest accepted difference between the time of a webhook and the clock here.
const webhookTolerance = 5 * time.Minute

// ErrWebhook is wrapped by every refusal of a webhook: answer with status 401, and do not use its content.
var ErrWebhook = errors.New("stentor: webhook refused")

// WebhookVerifier verifies webhooks with the secrets of one endpoint, by the Standard Webhooks specification
// (symmetric signatures, v1).
type WebhookVerifier struct {
	keys [][]byte
}

// NewWebhookVerifier returns a verifier. Secrets are whsec_…; several while a secret is being replaced.
func NewWebhookVerifier(secrets ...string) (*WebhookVerifier, error) {
	verifier := &WebhookVerifier{}
	for _, secret := range secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil || len(key) == 0 {
			return nil, errors.New("stentor: a webhook secret must be whsec_ and base64")
		}
		verifier.keys = append(verifier.keys, key)
	}
	if len(verifier.keys) == 0 {
		return nil, errors.New("stentor: a webhook secret is required")
	}
	return verifier, nil
}

// Verify returns nil for a webhook that is genuine and not older than five minutes. The body must be the body as it
// arrived.
//
// A webhook may arrive more than once. Its id, in the header webhook-id, is the same each time.
func (v *WebhookVerifier) Verify(body []byte, header http.Header) error {
	return v.VerifyAt(body, header, time.Now())
}

// VerifyAt is Verify at a given time.
func (v *WebhookVerifier) VerifyAt(body []byte, header http.Header, now time.Time) error {
	for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
		if header.Get(name) == "" {
			return fmt.Errorf("%w: the header %s is missing", ErrWebhook, name)
		}
	}
	timestamp := header.Get("webhook-timestamp")
	seconds, err := strconv.ParseUint(timestamp, 10, 62)
	if err != nil {
		return fmt.Errorf("%w: webhook-timestamp must be seconds since 1970", ErrWebhook)
	}
	limit := int64(webhookTolerance / time.Second)
	if age := now.Unix() - int64(seconds); age > limit || age < -limit {
		return fmt.Errorf("%w: it is too old or from the future: compare the clocks of sender and receiver", ErrWebhook)
	}
	signed := append([]byte(header.Get("webhook-id")+"."+timestamp+"."), body...)
	for _, key := range v.keys {
		mac := hmac.New(sha256.New, key)
		mac.Write(signed)
		expected := mac.Sum(nil)
		for _, part := range strings.Split(header.Get("webhook-signature"), " ") {
			offered, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(part, "v1,"))
			if strings.HasPrefix(part, "v1,") && err == nil && hmac.Equal(offered, expected) {
				return nil
			}
		}
	}
	return fmt.Errorf("%w: its signature is wrong", ErrWebhook)
}
