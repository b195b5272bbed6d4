package stentor

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

const (
	// Shortest secret that a node accepts, in bytes.
	secretMin = 32
	// Validity of tokens without TTL.
	anchorTTL   = 12 * time.Hour
	listenerTTL = 6 * time.Hour
)

// TokenSigner signs tokens with one of the secrets in auth.jwt_secrets, without a request to the node. Tokens are JWT
// (RFC 7519) with HS256.
type TokenSigner struct {
	kid, secret, issuer string
}

// AnchorToken describes a token with which a user may speak in a room.
type AnchorToken struct {
	Room, User string
	// Role is anchor if empty.
	Role UserRole
	// TTL is 12 hours if 0.
	TTL time.Duration
	// RoomCreatedAt is createdAt of the room. It makes the token useless for a later room with the same id. If it is 0,
	// the room must exist when the token is signed.
	RoomCreatedAt int64
}

// ListenerToken describes a token with which one listener may hear a room.
type ListenerToken struct {
	Room string
	// User is a user id; random if empty.
	User string
	// Name is shown to others in the chat and among the raised hands; may be empty.
	Name string
	// TTL is 6 hours if 0.
	TTL time.Duration
	// RoomCreatedAt: see [AnchorToken].
	RoomCreatedAt int64
}

// claims has the claims of a token (docs/signalling.md).
type claims struct {
	Exp           int64  `json:"exp"`
	Iat           int64  `json:"iat"`
	Aud           string `json:"aud"`
	Iss           string `json:"iss"`
	Sub           string `json:"sub"`
	RoomID        string `json:"roomId"`
	Role          string `json:"role"`
	Jti           string `json:"jti"`
	Name          string `json:"name,omitempty"`
	RoomCreatedAt int64  `json:"roomCreatedAt,omitempty"`
}

// NewTokenSigner returns a signer. The secret is kid:secret, as in a line of auth.jwt_secrets_file; the issuer is
// auth.issuer of the nodes, stentor if empty.
func NewTokenSigner(secret, issuer string) (*TokenSigner, error) {
	kid, text, _ := strings.Cut(secret, ":")
	if kid == "" || len(text) < secretMin {
		return nil, errors.New("stentor: the secret must be kid:secret, as in auth.jwt_secrets, with 32 bytes or more")
	}
	if issuer == "" {
		issuer = "stentor"
	}
	return &TokenSigner{kid, text, issuer}, nil
}

// Anchor returns a token with which a user may speak.
func (s *TokenSigner) Anchor(token AnchorToken) (string, error) {
	if token.Role == "" {
		token.Role = UserRoleAnchor
	}
	made := claims{Aud: "stentor/anchor", Sub: token.User, RoomID: token.Room, Role: string(token.Role)}
	made.RoomCreatedAt = token.RoomCreatedAt
	return s.sign(made, token.TTL, anchorTTL)
}

// Listener returns a token with which one listener may hear a room.
func (s *TokenSigner) Listener(token ListenerToken) (string, error) {
	if token.User == "" {
		id, err := random()
		if err != nil {
			return "", err
		}
		token.User = id
	}
	made := claims{Aud: "stentor/listener", Sub: token.User, RoomID: token.Room, Role: "listener", Name: token.Name}
	made.RoomCreatedAt = token.RoomCreatedAt
	return s.sign(made, token.TTL, listenerTTL)
}

func (s *TokenSigner) sign(made claims, ttl, defaultTTL time.Duration) (string, error) {
	if ttl == 0 {
		ttl = defaultTTL
	}
	id, err := random()
	if err != nil {
		return "", err
	}
	made.Iat = time.Now().Unix()
	made.Exp = made.Iat + int64(ttl/time.Second)
	made.Iss, made.Jti = s.issuer, id
	header, err := part(map[string]string{"typ": "JWT", "alg": "HS256", "kid": s.kid})
	if err != nil {
		return "", err
	}
	payload, err := part(made)
	if err != nil {
		return "", err
	}
	signed := header + "." + payload
	mac := hmac.New(sha256.New, []byte(s.secret))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), nil
}

func part(value interface{}) (string, error) {
	text, err := json.Marshal(value)
	return base64.RawURLEncoding.EncodeToString(text), err
}

// random returns 128 random bits in hex.
func random() (string, error) {
	var bits [16]byte
	_, err := rand.Read(bits[:])
	return hex.EncodeToString(bits[:]), err
}
