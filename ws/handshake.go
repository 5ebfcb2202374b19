package ws

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/isolde-run/isolde"
)

// acceptGUID is RFC 6455's constant of the handshake.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// Accept is the value of Sec-WebSocket-Accept for a client's
// Sec-WebSocket-Key.
func Accept(key string) string {
	sum := sha1.Sum([]byte(key + acceptGUID)) // the RFC's choice; nothing depends on its strength
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Key returns the Sec-WebSocket-Key of a request for a WebSocket. Errors:
// CodeInvalid for a request that asks for none, or not properly.
func Key(r *http.Request) (string, error) {
	if r.Method != http.MethodGet || !hasToken(r.Header["Connection"], "upgrade") || !hasToken(r.Header["Upgrade"], "websocket") {
		return "", isolde.Errorf(isolde.CodeInvalid, "this path is for WebSocket connections: the request has no Connection: Upgrade with Upgrade: websocket").
			WithHint("connect with a WebSocket client to ws://…/runtimes/{agentRuntimeArn}/ws")
	}
	if v := r.Header.Get("Sec-Websocket-Version"); v != "13" {
		return "", isolde.Errorf(isolde.CodeInvalid, "Sec-WebSocket-Version is %q; 13 is spoken", v)
	}
	keys := r.Header["Sec-Websocket-Key"]
	if len(keys) != 1 {
		return "", isolde.Errorf(isolde.CodeInvalid, "the request has %d Sec-WebSocket-Key headers, not one", len(keys))
	}
	if b, err := base64.StdEncoding.DecodeString(keys[0]); err != nil || len(b) != 16 {
		return "", isolde.Errorf(isolde.CodeInvalid, "Sec-WebSocket-Key is not 16 bytes in base64")
	}
	return keys[0], nil
}

// hasToken finds a token in a header that is a list, whatever its case.
func hasToken(values []string, token string) bool {
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// Protocols lists the subprotocols that a request offers.
func Protocols(h http.Header) []string {
	var all []string
	for _, v := range h["Sec-Websocket-Protocol"] {
		for t := range strings.SplitSeq(v, ",") {
			all = append(all, strings.TrimSpace(t))
		}
	}
	return all
}

// Open asks an agent for a WebSocket at a path, with the given headers beside
// the handshake's own, which replace the caller's. No subprotocol and
// no extension is offered. If the agent agrees, the answer has status 101 and
// the rest of the connection is read by way of the reader. Another answer is
// the agent's refusal; its body must be closed. ctx bounds the handshake. The
// connection stays the caller's to close.
func Open(ctx context.Context, c net.Conn, path string, h http.Header) (*http.Response, *bufio.Reader, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var nonce [16]byte
	rand.Read(nonce[:])
	key := base64.StdEncoding.EncodeToString(nonce[:])
	h = maps.Clone(h)
	maps.DeleteFunc(h, func(name string, _ []string) bool { return strings.HasPrefix(name, "Sec-Websocket-") })
	h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	h["Sec-WebSocket-Key"], h["Sec-WebSocket-Version"] = []string{key}, []string{"13"}
	req := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: "agent", Path: path}, Host: "agent", Header: h}
	if err := req.Write(c); err != nil {
		return nil, nil, fmt.Errorf("send handshake: %w", err)
	}
	br := bufio.NewReaderSize(c, readBuffer)
	resp, err := readAnswer(br, req)
	if !stop() {
		if err == nil {
			resp.Body.Close()
		}
		return nil, nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read handshake: %w", err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		if err := checkAnswer(resp.Header, key); err != nil {
			return nil, nil, err
		}
	}
	return resp, br, nil
}

// maxAnswer bounds the head of an agent's answer, in bytes.
const maxAnswer = 64 << 10

var errAnswer = errors.New("the answer's header has no end")

// readAnswer reads not a byte beyond the answer's head, where frames begin.
func readAnswer(br *bufio.Reader, req *http.Request) (*http.Response, error) {
	var head []byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) && !bytes.HasSuffix(head, []byte("\n\n")) {
		b, err := br.ReadByte()
		if err != nil {
			return nil, err
		}
		if head = append(head, b); len(head) > maxAnswer {
			return nil, errAnswer
		}
	}
	return http.ReadResponse(bufio.NewReader(io.MultiReader(bytes.NewReader(head), br)), req)
}

func checkAnswer(h http.Header, key string) error {
	switch {
	case !hasToken(h["Connection"], "upgrade") || !hasToken(h["Upgrade"], "websocket") || h.Get("Sec-Websocket-Accept") != Accept(key):
		return errors.New("the answer with status 101 is no WebSocket handshake")
	case len(h["Sec-Websocket-Extensions"]) > 0 || len(h["Sec-Websocket-Protocol"]) > 0:
		return errors.New("the answer names an extension or a subprotocol, and none was offered")
	}
	return nil
}
