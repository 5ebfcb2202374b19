package network

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// ask asks the host's name servers, one after the other.
func (v *resolver) ask(q question) ([]byte, error) {
	id := uint16(rand.Uint32())
	query, err := q.forward(id)
	if err != nil {
		return nil, err
	}
	servers := v.router.cfg.NameServers
	if servers == nil {
		servers = hostNameServers()
	}
	var errs []error
	for _, server := range servers {
		answer, err := v.askOne(server, "udp", q, query, id)
		if errors.Is(err, errTruncated) {
			answer, err = v.askOne(server, "tcp", q, query, id)
		}
		if err == nil {
			return answer, nil
		}
		errs = append(errs, err)
		if v.ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

var errTruncated = errors.New("the answer is cut short")

func (v *resolver) askOne(server netip.Addr, network string, q question, query []byte, id uint16) ([]byte, error) {
	var c net.Conn
	err := v.router.host.do(func() (err error) {
		c, err = net.DialTimeout(network, net.JoinHostPort(server.String(), strconv.Itoa(53)), askTimeout)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(v.ctx, func() { c.Close() })()
	if err := c.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return nil, err
	}
	if network == "tcp" {
		if err := writeFramed(c, query); err != nil {
			return nil, err
		}
		answer, err := readFramed(c)
		if ok, _ := q.answers(answer, id); err == nil && !ok {
			err = errors.New("the name server answers another question")
		}
		return answer, err
	}
	if _, err := c.Write(query); err != nil {
		return nil, err
	}
	for buf := make([]byte, 4096); ; {
		n, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		switch ok, truncated := q.answers(buf[:n], id); {
		case truncated && ok:
			return nil, errTruncated
		case ok:
			return buf[:n], nil
		}
	}
}

// readFramed reads a message as DNS has them over TCP.
func readFramed(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, b)
	return b, err
}

func writeFramed(w io.Writer, b []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	return err
}
