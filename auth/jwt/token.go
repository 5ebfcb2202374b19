package jwt

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"

	"github.com/isolde-run/isolde"
)

// Subprotocol is the WebSocket subprotocol of browsers, which cannot set
// headers: they offer Subprotocol and Subprotocol.<token in base64url>.
const Subprotocol = "base64UrlBearerAuthorization"

// The bounds of a token, and of one in base64url, as AWS's SDK has it.
const (
	maxToken        = 16 << 10
	maxEncodedToken = 4096
)

// ErrNoToken is the cause of an error for a request without any token.
var ErrNoToken = errors.New("no bearer token")

// Token is a token as it came.
type Token struct {
	Text string
	// Subprotocol is what a WebSocket's handshake must answer in
	// Sec-WebSocket-Protocol; empty for nothing.
	Subprotocol string
}

// FromRequest finds the token of a request: in Authorization, or, for a
// WebSocket, in Sec-WebSocket-Protocol. Errors are [isolde.Error] with
// CodeUnauthorized; without a token their cause is [ErrNoToken].
func FromRequest(r *http.Request) (Token, error) {
	switch headers := r.Header["Authorization"]; {
	case len(headers) > 1:
		return Token{}, invalid("the request has %d Authorization headers", len(headers))
	case len(headers) == 1:
		scheme, text, _ := strings.Cut(headers[0], " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return Token{}, noToken("this agent runtime takes bearer tokens; the request has other credentials")
		}
		text = strings.TrimSpace(text)
		if text == "" || len(text) > maxToken {
			return Token{}, invalid("the bearer token has %d bytes; 1 to %d are allowed", len(text), maxToken)
		}
		return Token{Text: text}, nil
	}
	return fromSubprotocol(r)
}

func fromSubprotocol(r *http.Request) (t Token, err error) {
	encoded := ""
	for _, header := range r.Header["Sec-Websocket-Protocol"] {
		for offer := range strings.SplitSeq(header, ",") {
			offer = strings.TrimSpace(offer)
			if offer == Subprotocol {
				t.Subprotocol = Subprotocol
			} else if rest, ok := strings.CutPrefix(offer, Subprotocol+"."); ok {
				if encoded != "" {
					return Token{}, invalid("Sec-WebSocket-Protocol has more than one token")
				}
				encoded = rest
			}
		}
	}
	if encoded == "" {
		return Token{}, noToken("this agent runtime needs a bearer token, and the request has none")
	}
	if len(encoded) > maxEncodedToken {
		return Token{}, invalid("the token in Sec-WebSocket-Protocol has %d bytes; %d are allowed", len(encoded), maxEncodedToken)
	}
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if err != nil || len(text) == 0 {
		return Token{}, invalid("the token in Sec-WebSocket-Protocol is not base64url")
	}
	t.Text = string(text)
	return t, nil
}

func noToken(message string) error {
	return isolde.Errorf(isolde.CodeUnauthorized, "%s", message).
		WithHint("send Authorization: Bearer and a token of its identity provider").WithCause(ErrNoToken)
}

// invalid is a token that proves nothing.
func invalid(format string, args ...any) *isolde.Error {
	return isolde.Errorf(isolde.CodeUnauthorized, format, args...)
}

// insufficient is a token that proves too little.
func insufficient(format string, args ...any) *isolde.Error {
	return isolde.Errorf(isolde.CodeDenied, format, args...)
}
