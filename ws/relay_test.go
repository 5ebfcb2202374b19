package ws

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer is one end of a relay, played by a test.
type peer struct {
	net.Conn
	r     *bufio.Reader
	masks bool
}

func (p *peer) header(op byte, final bool, n int) header {
	return header{final: final, op: op, masked: p.masks, length: uint64(n)}
}

func (p *peer) send(t *testing.T, op byte, final bool, payload []byte) {
	t.Helper()
	// A mask of zeros leaves the payload readable.
	if _, err := p.Write(append(p.header(op, final, len(payload)).appendTo(nil), payload...)); err != nil {
		t.Errorf("send: %v", err)
	}
}

func (p *peer) receive() (header, []byte, error) {
	b, err := p.r.Peek(2)
	if err != nil {
		return header{}, nil, err
	}
	head := make([]byte, headerSize(b[0], b[1]))
	if _, err := io.ReadFull(p.r, head); err != nil {
		return header{}, nil, err
	}
	h, err := parseHeader(head)
	if err != nil {
		return h, nil, err
	}
	payload := make([]byte, h.length)
	_, err = io.ReadFull(p.r, payload)
	for i := range payload {
		payload[i] ^= h.mask[i%4]
	}
	return h, payload, err
}

func (p *peer) want(t *testing.T, op byte, final bool, payload string) {
	t.Helper()
	h, got, err := p.receive()
	if err != nil || h.op != op || h.final != final || string(got) != payload || h.masked == p.masks {
		t.Errorf("received %+v %q, %v; want opcode %d, final %v, %q", h, got, err, op, final, payload)
	}
}

// wantClose reads what comes, up to a Close with the code and reason.
func (p *peer) wantClose(t *testing.T, code uint16, reason string) {
	t.Helper()
	for {
		h, got, err := p.receive()
		if err == nil && h.op != opClose {
			continue
		}
		if err != nil || len(got) < 2 || binary.BigEndian.Uint16(got) != code || !strings.Contains(string(got[2:]), reason) || h.masked == p.masks {
			t.Errorf("received %q, %v; want Close %d …%s…", got, err, code, reason)
		}
		return
	}
}

// bed is a relay between two peers that a test plays, in a synctest bubble.
type bed struct {
	client, agent *peer
	passed        atomic.Int64
	cancel        context.CancelCauseFunc
	done          chan struct{}
	err           error // of Run, once done
}

func inBubble(t *testing.T, f func(t *testing.T, b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var ctx context.Context
		b := &bed{done: make(chan struct{})}
		ctx, b.cancel = context.WithCancelCause(t.Context())
		client, clientSide := net.Pipe()
		agent, agentSide := net.Pipe()
		b.client = &peer{Conn: client, r: bufio.NewReader(client), masks: true}
		b.agent = &peer{Conn: agent, r: bufio.NewReader(agent)}
		relay := Relay{
			Client: &Conn{Conn: clientSide, Reader: bufio.NewReaderSize(clientSide, readBuffer)},
			Agent:  &Conn{Conn: agentSide, Reader: bufio.NewReaderSize(agentSide, readBuffer)},
			Passed: func() { b.passed.Add(1) },
			Lost:   func(error) *Closure { return &Closure{CodeInternal, "lost"} },
		}
		go func() {
			defer close(b.done)
			b.err = relay.Run(ctx)
		}()
		f(t, b)
		b.cancel(nil)
		client.Close()
		agent.Close()
		<-b.done
	})
}

func (b *bed) wantEnd(t *testing.T, want string) {
	t.Helper()
	<-b.done
	got := ""
	if b.err != nil {
		got = b.err.Error()
	}
	if want == "" && got != "" || !strings.Contains(got, want) {
		t.Errorf("Run returned %q, want …%s…", got, want)
	}
}

func TestFramesPassUnchanged(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		large := bytes.Repeat([]byte("x"), MaxFrame)
		go func() {
			b.client.send(t, opText, true, []byte("hi"))
			b.client.send(t, opBinary, false, large)
			b.client.send(t, opPing, true, []byte("between fragments"))
			b.client.send(t, opContinuation, true, nil)
		}()
		b.agent.want(t, opText, true, "hi")
		b.agent.want(t, opBinary, false, string(large))
		b.agent.want(t, opPing, true, "between fragments")
		b.agent.want(t, opContinuation, true, "")
		go b.agent.send(t, opBinary, true, large)
		b.client.want(t, opBinary, true, string(large))
		if n := b.passed.Load(); n != 5 {
			t.Errorf("%d frames counted, want 5", n)
		}
	})
}

func TestClosingHandshakeIsThePeers(t *testing.T) {
	for _, clientFirst := range []bool{true, false} {
		inBubble(t, func(t *testing.T, b *bed) {
			first, second := b.client, b.agent
			if !clientFirst {
				first, second = second, first
			}
			payload := append(binary.BigEndian.AppendUint16(nil, 4321), "bye"...)
			go first.send(t, opClose, true, payload)
			second.want(t, opClose, true, string(payload))
			go func() {
				second.send(t, opText, true, []byte("one more thing"))
				second.send(t, opClose, true, payload)
			}()
			first.want(t, opText, true, "one more thing")
			first.want(t, opClose, true, string(payload))
			if _, err := first.r.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("after the handshake: %v", err)
			}
			b.wantEnd(t, "")
		})
	}
}

func TestCloseThatIsNotAnswered(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		go b.client.send(t, opClose, true, nil)
		b.agent.want(t, opClose, true, "")
		b.wantEnd(t, "")
	})
}

func TestClientThatBreaksTheRules(t *testing.T) {
	unmasked := header{final: true, op: opText, length: 2}.appendTo(nil)
	for _, test := range []struct {
		name   string
		bytes  []byte
		code   uint16
		reason string
	}{
		{"no mask", append(unmasked, "hi"...), CodeProtocol, "without a mask"},
		{"reserved bits", []byte{0xF1, 0x80, 0, 0, 0, 0}, CodeProtocol, "reserved bits"},
		{"long control frame", []byte{0x89, 0xFE, 1, 0, 0, 0, 0, 0}, CodeProtocol, "control frame of 256 bytes"},
		{"continuation of nothing", []byte{0x80, 0x80, 0, 0, 0, 0}, CodeProtocol, "continuation"},
		{"message in a message", []byte{0x01, 0x80, 0, 0, 0, 0, 0x01, 0x80, 0, 0, 0, 0}, CodeProtocol, "before the last one ended"},
		{"one byte too many", header{final: true, op: opBinary, masked: true, length: MaxFrame + 1}.appendTo(nil), CodeTooBig, "65537 bytes; at most 65536"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bed) {
				go b.agent.wantClose(t, CodeGoingAway, "the client sent")
				cut := make(chan struct{})
				go func() {
					defer close(cut)
					if _, err := b.client.Write(test.bytes); err != nil {
						t.Errorf("write: %v", err)
					}
					for { // and goes on, until it is cut off
						if _, err := b.client.Write(make([]byte, 1000)); err != nil {
							return
						}
						time.Sleep(time.Millisecond)
					}
				}()
				b.client.wantClose(t, test.code, test.reason)
				b.wantEnd(t, test.reason)
				<-cut
			})
		})
	}
}

func TestAgentThatBreaksTheRules(t *testing.T) {
	for _, test := range []struct {
		name   string
		bytes  []byte
		code   uint16
		reason string
	}{
		{"mask", []byte{0x81, 0x80, 0, 0, 0, 0}, CodeProtocol, "with a mask"},
		{"one byte too many", header{final: true, op: opBinary, length: MaxFrame + 1}.appendTo(nil), CodeTooBig, "65537 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bed) {
				go func() {
					_, _ = b.agent.Write(test.bytes)
					b.agent.wantClose(t, test.code, test.reason)
				}()
				b.client.wantClose(t, CodeInternal, "the agent sent a frame")
				<-b.done
				if _, ok := errors.AsType[*AgentFault](b.err); !ok {
					t.Errorf("Run returned %v, want an AgentFault", b.err)
				}
			})
		})
	}
}

func TestFramesOfAClientPerSecond(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		go b.agent.wantClose(t, CodeGoingAway, "frames in a second")
		for range 3 * FramesPerSecond { // as fast as allowed
			b.client.send(t, opText, true, nil)
			time.Sleep(time.Second / FramesPerSecond)
		}
		time.Sleep(time.Second)
		for range FramesPerSecond {
			b.client.send(t, opText, true, nil)
		}
		go b.client.send(t, opText, true, nil) // one too many
		b.client.wantClose(t, CodePolicy, "250 frames")
		b.wantEnd(t, "250 frames")
	})
}

func TestQuickAgentIsHeldBack(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		began := time.Now()
		go func() {
			for range 4 * FramesPerSecond {
				b.agent.send(t, opText, true, []byte("token"))
			}
		}()
		for range 4 * FramesPerSecond {
			b.client.want(t, opText, true, "token")
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("1000 frames took %v, want 3s: one second's worth at once", took)
		}
	})
}

func TestConnectionEndsAtItsLongest(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		began := time.Now()
		go b.agent.wantClose(t, CodeGoingAway, "1h0m0s")
		b.client.wantClose(t, CodePolicy, "1h0m0s")
		if took := time.Since(began); took != MaxDuration {
			t.Errorf("ended after %v", took)
		}
		b.wantEnd(t, "1h0m0s")
	})
}

func TestEndFromOutsideFallsBetweenFrames(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		go b.agent.send(t, opBinary, true, make([]byte, MaxFrame))
		if _, err := b.client.r.ReadByte(); err != nil { // the frame is half way
			t.Fatal(err)
		}
		if err := b.client.r.UnreadByte(); err != nil {
			t.Fatal(err)
		}
		b.cancel(&Closure{CodeGoingAway, "the server shuts down"})
		synctest.Wait()
		go b.agent.wantClose(t, CodeGoingAway, "shuts down")
		b.client.want(t, opBinary, true, string(make([]byte, MaxFrame)))
		b.client.wantClose(t, CodeGoingAway, "shuts down")
		b.wantEnd(t, "shuts down")
	})
}

// Nobody reads; the relay holds a frame for each and ends all the same.
func TestPeersThatDoNotRead(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bed) {
		sent := make(chan struct{}, 2)
		for _, p := range []*peer{b.client, b.agent} {
			go func() {
				frame := append(p.header(opBinary, true, MaxFrame).appendTo(nil), make([]byte, MaxFrame)...)
				for n := 0; ; n++ {
					if _, err := p.Write(frame); err != nil {
						if n > 2 {
							t.Errorf("%d frames were taken", n)
						}
						sent <- struct{}{}
						return
					}
				}
			}()
		}
		synctest.Wait()
		b.cancel(&Closure{CodeGoingAway, "over"})
		<-sent
		<-sent
		b.wantEnd(t, "over")
	})
}

func TestPeerThatIsGone(t *testing.T) {
	t.Run("client", func(t *testing.T) {
		inBubble(t, func(t *testing.T, b *bed) {
			b.client.Close()
			if _, err := b.agent.r.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("the agent reads %v", err)
			}
			b.wantEnd(t, "")
		})
	})
	t.Run("agent", func(t *testing.T) {
		inBubble(t, func(t *testing.T, b *bed) {
			b.agent.Close()
			b.client.wantClose(t, CodeInternal, "lost")
			b.wantEnd(t, "lost")
		})
	})
	t.Run("agent, seen by writing", func(t *testing.T) {
		inBubble(t, func(t *testing.T, b *bed) {
			b.agent.Close()
			go func() { _, _ = b.client.Write([]byte{0x81, 0x80, 0, 0, 0, 0}) }()
			b.client.wantClose(t, CodeInternal, "lost")
			b.wantEnd(t, "lost")
		})
	})
}
