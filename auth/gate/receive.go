package gate

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/auth/sigv4"
	"github.com/isolde-run/isolde/auth/spool"
)

// A body that is held back must go on: so many bytes of it, or its end, within
// so long.
const (
	paceBytes = 256 << 10
	paceTime  = 30 * time.Second
)

// receive reads a body to its end, at the pace and within the share of its caller.
func (g *Gate) receive(w http.ResponseWriter, r *http.Request, p *sigv4.Pending, limit int64) (*spool.Body, error) {
	u := &upload{r: r.Body, rc: http.NewResponseController(w)}
	if p.NeedsBody() && g.Shares != nil {
		u.share = g.Shares.open(p.Identity().KeyID, r)
		defer u.share.close()
	}
	u.setPace()
	body, err := g.Spool.Read(u, r.ContentLength, limit)
	_ = u.rc.SetReadDeadline(time.Time{})
	return body, err
}

// upload is a body on its way in.
type upload struct {
	r     io.Reader
	rc    *http.ResponseController
	got   int64 // since the deadline was set
	all   int64
	share *share // nil: none is needed
}

func (u *upload) setPace() {
	u.got = 0
	_ = u.rc.SetReadDeadline(time.Now().Add(paceTime)) // only a test's writer has none
}

// Read fails with an isolde.Error.
func (u *upload) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	u.all += int64(n)
	if u.got += int64(n); u.got >= paceBytes && err == nil {
		u.setPace()
	}
	if u.share != nil {
		if err := u.share.take(u.all); err != nil {
			return n, err
		}
	}
	switch {
	case err == nil || err == io.EOF: //nolint:errorlint // a Reader returns it bare
		return n, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, isolde.Errorf(isolde.CodeMalformed, "the payload came too slowly: of %d bytes, less than %d in %v", u.all, paceBytes, paceTime).
			WithCause(err)
	}
	return n, isolde.Errorf(isolde.CodeMalformed, "the payload broke off after %d bytes", u.all).WithCause(err)
}
