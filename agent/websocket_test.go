package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// client is the other side of a connection, frame by frame.
type client struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

const handshake = "GET /ws HTTP/1.1\r\nHost: agent\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// connect serves the app until the test ends and opens its WebSocket.
func connect(t *testing.T, app *App) *client {
	t.Helper()
	if app.Logger == nil {
		app.Logger = quiet
	}
	server := httptest.NewServer(app)
	t.Cleanup(func() {
		if err := app.conns.wait(t.Context()); err == nil {
			server.Close()
		}
	})
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, handshake+"X-Amzn-Bedrock-AgentCore-Runtime-Session-Id: s\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	c := &client{t, conn, bufio.NewReader(conn)}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-Websocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("handshake: %+v, %v", resp, err)
	}
	return c
}

// send writes bytes as they are.
func (c *client) send(frames ...[]byte) {
	c.t.Helper()
	for _, f := range frames {
		if _, err := c.conn.Write(f); err != nil {
			c.t.Fatal(err)
		}
	}
}

// masked is a client's frame. first is its first byte.
func masked(first byte, payload string) []byte {
	b := appendFrame(nil, false, first, []byte(payload))
	b[1] |= 0x80
	head := len(b) - len(payload)
	mask := [4]byte{1, 2, 3, 4}
	body := []byte(payload)
	for i := range body {
		body[i] ^= mask[i&3]
	}
	return slices.Concat(b[:head], mask[:], body)
}

// frame reads one and returns its first byte and payload.
func (c *client) frame() (first byte, payload string) {
	c.t.Helper()
	var b [8]byte
	if _, err := io.ReadFull(c.in, b[:2]); err != nil {
		return 0, err.Error()
	}
	first = b[0]
	n := uint64(b[1])
	switch n {
	case 126:
		_, _ = io.ReadFull(c.in, b[:2])
		n = uint64(binary.BigEndian.Uint16(b[:2]))
	case 127:
		_, _ = io.ReadFull(c.in, b[:8])
		n = binary.BigEndian.Uint64(b[:8])
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(c.in, data); err != nil {
		c.t.Error(err)
	}
	return first, string(data)
}

// wantClose reads a Close frame and the end.
func (c *client) wantClose(code int, reason string) {
	c.t.Helper()
	first, payload := c.frame()
	if want := string((&CloseError{code, reason}).payload()); first != 0x88 || payload != want {
		c.t.Errorf("got frame %#x %q, want a close %q", first, payload, want)
	}
}

func echo(ctx context.Context, conn *Conn) error {
	for {
		typ, data, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		if err := conn.Write(ctx, typ, data); err != nil {
			return err
		}
	}
}

func TestWebSocketEcho(t *testing.T) {
	c := connect(t, &App{WebSocket: echo, MaxMessage: 100_000})
	for name, m := range map[string]struct {
		sent [][]byte
		want []string // first bytes and payloads
	}{
		"text":        {[][]byte{masked(0x81, "hé")}, []string{"\x81hé"}},
		"empty":       {[][]byte{masked(0x82, "")}, []string{"\x82"}},
		"126":         {[][]byte{masked(0x82, strings.Repeat("x", 126))}, []string{"\x82" + strings.Repeat("x", 126)}},
		"65536":       {[][]byte{masked(0x82, strings.Repeat("x", 1<<16))}, []string{"\x02" + strings.Repeat("x", 1<<15), "\x80" + strings.Repeat("x", 1<<15)}},
		"ping":        {[][]byte{masked(0x89, "are you there")}, []string{"\x8aare you there"}},
		"pong":        {[][]byte{masked(0x8a, "unasked"), masked(0x81, "a")}, []string{"\x81a"}},
		"in pieces":   {[][]byte{masked(0x01, "\xc3"), masked(0x89, "p"), masked(0x00, "\xa9"), masked(0x80, "")}, []string{"\x8ap", "\x81é"}},
		"one by one":  bytewise(masked(0x81, "slow"), "\x81slow"),
		"two at once": {[][]byte{append(masked(0x81, "a"), masked(0x81, "b")...)}, []string{"\x81a", "\x81b"}},
	} {
		c.send(m.sent...)
		for _, want := range m.want {
			if first, payload := c.frame(); string([]byte{first})+payload != want {
				t.Errorf("%s: got %#x and %d bytes, want %#x and %d", name, first, len(payload), want[0], len(want)-1)
			}
		}
	}
	c.send(masked(0x88, string((&CloseError{3000, "enough"}).payload())))
	c.wantClose(3000, "enough")
}

func bytewise(frame []byte, want string) (m struct {
	sent [][]byte
	want []string
},
) {
	for _, b := range frame {
		m.sent = append(m.sent, []byte{b})
	}
	m.want = []string{want}
	return m
}

func TestWebSocketViolations(t *testing.T) {
	for name, c := range map[string]struct {
		sent   []byte
		code   int
		reason string
	}{
		"not masked":          {appendFrame(nil, true, 1, []byte("a")), 1002, "a client's frame is not masked"},
		"reserved bit":        {masked(0xC1, "a"), 1002, "a reserved bit is set"},
		"unknown opcode":      {masked(0x83, "a"), 1002, "there is no opcode 3"},
		"long ping":           {masked(0x89, strings.Repeat("a", 126)), 1002, "a control frame is fragmented or too long"},
		"fragmented ping":     {masked(0x09, "a"), 1002, "a control frame is fragmented or too long"},
		"no beginning":        {masked(0x80, "a"), 1002, "a message begins within another, or goes on without a beginning"},
		"two beginnings":      {append(masked(0x01, "a"), masked(0x81, "a")...), 1002, "a message begins within another, or goes on without a beginning"},
		"not UTF-8":           {masked(0x81, "\xff"), 1007, "a text message is not UTF-8"},
		"too long":            {masked(0x82, strings.Repeat("a", 101)), 1009, "a message has more than 100 bytes"},
		"too long in pieces":  {append(masked(0x02, strings.Repeat("a", 60)), masked(0x80, strings.Repeat("a", 60))...), 1009, "a message has more than 100 bytes"},
		"length of 2^63":      {[]byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, 1009, "a message has more than 100 bytes"},
		"close of one byte":   {masked(0x88, "a"), 1002, "a close frame has one byte"},
		"close with 1006":     {masked(0x88, "\x03\xee"), 1002, "no client may close with 1006"},
		"close without UTF-8": {masked(0x88, "\x03\xe8\xff"), 1007, "the reason is not UTF-8"},
		"close":               {masked(0x88, ""), 1005, ""},
	} {
		t.Run(name, func(t *testing.T) {
			client := connect(t, &App{WebSocket: echo, MaxMessage: 100})
			client.send(c.sent)
			client.wantClose(c.code, c.reason)
		})
	}
}

func TestWebSocketEnds(t *testing.T) {
	for name, c := range map[string]struct {
		handler func(context.Context, *Conn) error
		code    int
		reason  string
	}{
		"return": {func(ctx context.Context, conn *Conn) error { return nil }, 1000, ""},
		"error":  {func(ctx context.Context, conn *Conn) error { return errors.New("boom") }, 1011, "Internal server error"},
		"panic":  {func(ctx context.Context, conn *Conn) error { panic("boom") }, 1011, "Internal server error"},
		"close": {func(ctx context.Context, conn *Conn) error {
			conn.Close(4000, strings.Repeat("é", 100))
			return conn.WriteJSON(ctx, "late")
		}, 4000, strings.Repeat("é", 61)},
	} {
		t.Run(name, func(t *testing.T) {
			client := connect(t, &App{WebSocket: c.handler})
			client.wantClose(c.code, c.reason)
			client.send(masked(0x88, "\x03\xe8"))
			if _, rest := client.frame(); rest != "EOF" && !strings.Contains(rest, "reset") {
				t.Errorf("after the close came %q", rest)
			}
		})
	}
}

// TestWebSocketClientLeaves ends the context of a handler that only writes.
func TestWebSocketClientLeaves(t *testing.T) {
	ended := make(chan error)
	client := connect(t, &App{WebSocket: func(ctx context.Context, conn *Conn) error {
		var hello struct{ Session string }
		if err := conn.ReadJSON(ctx, &hello); err == nil {
			t.Error("a bad message was read")
		}
		if err := conn.ReadJSON(ctx, &hello); err != nil || hello.Session != FromContext(ctx).SessionID {
			t.Errorf("got %+v, %v", hello, err)
		}
		short, cancel := context.WithCancel(ctx)
		cancel()
		if _, _, err := conn.Read(short); !errors.Is(err, context.Canceled) {
			t.Errorf("a read that nobody waits for: %v", err)
		}
		err := conn.WriteJSON(ctx, map[string]string{"to": "you"})
		<-ctx.Done()
		ended <- errors.Join(err, context.Cause(ctx))
		return err
	}})
	client.send(masked(0x81, "{"), masked(0x81, `{"session": "s"}`))
	if first, payload := client.frame(); first != 0x81 || payload != `{"to": "you"}` {
		t.Errorf("got %#x %s", first, payload)
	}
	client.send(masked(0x88, "\x03\xe9bye"))
	client.wantClose(1001, "bye")
	var closed *CloseError
	if err := <-ended; !errors.As(err, &closed) || *closed != (CloseError{1001, "bye"}) {
		t.Errorf("the handler's context ended with %v", err)
	}
}

func TestWebSocketStops(t *testing.T) {
	app := &App{WebSocket: echo}
	client := connect(t, app)
	client.send(masked(0x81, "a"))
	client.frame()
	app.stop(errStopping)
	client.wantClose(1001, "the agent is stopping")
	client.send(masked(0x88, "\x03\xe9"))
	if err := app.conns.wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWebSocketRefused(t *testing.T) {
	app := &App{WebSocket: echo, Logger: quiet}
	for want, change := range map[string]string{
		"400 this is not the handshake of a WebSocket": "Upgrade",
		"426 this version of WebSockets is not spoken": "Sec-Websocket-Version",
		"404 this agent has no WebSocket handler":      "",
	} {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(handshake + "\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		if r.Header.Del(change); change == "" {
			app = &App{Logger: quiet}
		}
		w := httptest.NewRecorder()
		app.ServeHTTP(w, r)
		status, reason, _ := strings.Cut(want, " ")
		if fmt.Sprint(w.Code) != status || !strings.Contains(w.Body.String(), reason) {
			t.Errorf("without %q: %d %s", change, w.Code, w.Body)
		}
		app = &App{WebSocket: echo, Logger: quiet}
	}
}

// FuzzFrames reads anything as a client's frames, and messages back from frames.
func FuzzFrames(f *testing.F) {
	f.Add(masked(0x81, "hello"), 10)
	f.Add(append(masked(0x01, "hello"), masked(0x80, "you")...), 3)
	f.Add(masked(0x88, "\x03\xe8bye"), 0)
	f.Fuzz(func(t *testing.T, sent []byte, limit int) {
		limit = min(max(limit, 0), 1<<16)
		ours, theirs := net.Pipe()
		c := newConn(t.Context(), ours, bufio.NewReader(bytes.NewReader(sent)), limit)
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		total := 0
		for {
			_, data, err := c.Read(t.Context())
			if err != nil {
				break
			}
			if total += len(data); len(data) > limit || total > len(sent) {
				t.Fatalf("read %d bytes, %d in all, of %d sent with a limit of %d", len(data), total, len(sent), limit)
			}
		}
		<-c.ended
		theirs.Close()

		back, err := readHeader(bytes.NewReader(masked(0x82, string(sent))))
		if err != nil || back.length != uint64(len(sent)) || back.opcode != byte(Binary) {
			t.Fatalf("%d bytes became %+v, %v", len(sent), back, err)
		}
	})
}

// TestWebSocketClientDoesNotRead stops an agent that waits for such a client.
func TestWebSocketClientDoesNotRead(t *testing.T) {
	app := &App{WebSocket: func(ctx context.Context, conn *Conn) error {
		for {
			if err := conn.Write(ctx, Binary, make([]byte, 1<<20)); err != nil {
				return err
			}
		}
	}}
	client := connect(t, app)
	client.frame()
	app.stop(errStopping)
	if err := app.conns.wait(t.Context()); err != nil {
		t.Error(err)
	}
}
