package agent

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// accept opens a WebSocket connection. It has answered if it fails.
func accept(w http.ResponseWriter, r *http.Request, limit int) (*Conn, error) {
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-Websocket-Key"))
	switch {
	case !hasToken(r.Header, "Connection", "upgrade"), !hasToken(r.Header, "Upgrade", "websocket"), err != nil, len(key) != 16:
		return nil, refuse(w, http.StatusBadRequest, "this is not the handshake of a WebSocket")
	case r.Header.Get("Sec-Websocket-Version") != "13":
		w.Header().Set("Sec-WebSocket-Version", "13")
		return nil, refuse(w, http.StatusUpgradeRequired, "this version of WebSockets is not spoken here")
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, refuse(w, http.StatusInternalServerError, err.Error())
	}
	sum := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_ = conn.SetDeadline(time.Time{}) // the server's own
	_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n")
	if err != nil {
		conn.Close()
		return nil, err
	}
	return newConn(r.Context(), conn, buffered.Reader, limit), nil
}

func refuse(w http.ResponseWriter, status int, message string) error {
	err := &Error{Status: status, Message: message}
	status, body := errorAnswer(err)
	writeJSON(w, status, body)
	return err
}

// hasToken looks for a word of a comma list, in any case.
func hasToken(h http.Header, name, token string) bool {
	for _, list := range h.Values(name) {
		for word := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.TrimSpace(word), token) {
				return true
			}
		}
	}
	return false
}

func (a *App) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	if a.WebSocket == nil {
		_ = refuse(w, http.StatusNotFound, "this agent has no WebSocket handler")
		return
	}
	if err := a.restored(r.Context()); err != nil {
		a.fail(w, r, err)
		return
	}
	limit := a.MaxMessage
	if limit == 0 {
		limit = 1 << 20
	}
	conn, err := accept(w, r, limit)
	if err != nil {
		logError(r.Context(), a.logger(), "websocket refused", err)
		return
	}
	a.conns.add(1)
	defer a.conns.add(-1)
	a.talk(conn)
}

// talk runs the handler, until the agent stops at the latest.
func (a *App) talk(conn *Conn) {
	stop := context.AfterFunc(a.context(), func() {
		conn.bye(&CloseError{1001, errStopping.Error()})
		conn.end(errStopping)
	})
	defer stop()
	start := time.Now()
	err := protected(conn.ctx, func(ctx context.Context) error { return a.WebSocket(ctx, conn) })
	var closed *CloseError
	switch {
	case err == nil, errors.As(err, &closed), errors.Is(err, errStopping):
		conn.Close(1000, "")
	default:
		logError(conn.ctx, a.logger(), "websocket handler failed", err)
		conn.Close(1011, "Internal server error")
	}
	a.logger().LogAttrs(conn.ctx, slog.LevelInfo, "websocket ended", since(start))
}
