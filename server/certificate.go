package server

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certLookInterval is how long a renewed certificate may go unseen.
const certLookInterval = time.Minute

// certificate is the server's, read again when its file was renewed. A pair
// that cannot be read, as in the middle of a renewal, leaves the one before.
type certificate struct {
	cert, key string // files
	log       *slog.Logger

	mu     sync.Mutex
	pair   *tls.Certificate
	of     time.Time // when the file was changed that pair is of
	lookAt time.Time
}

// load reads the pair.
func (c *certificate) load() error {
	c.lookAt = time.Now().Add(certLookInterval)
	info, err := os.Stat(c.cert)
	if err != nil {
		return err
	}
	if c.pair != nil && info.ModTime().Equal(c.of) {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return err
	}
	c.pair, c.of = &pair, info.ModTime()
	return nil
}

// get is for tls.Config.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().After(c.lookAt) {
		if err := c.load(); err != nil {
			c.log.Error("certificate not read again; the one of before stays", "file", c.cert, "err", err)
		}
	}
	return c.pair, nil
}
